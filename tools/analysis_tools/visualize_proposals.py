#!/usr/bin/env python
"""Draw the best proposals of images, with their uncertainty.

Writes a JPEG for each image, with its name: the best proposals with a band of
one standard deviation around each edge, and a map of the standard deviation
for each level of KL-RPN. --baseline adds the proposals of another detector,
--ground-truth the objects of test images.
"""

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmcv.transforms import Compose
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import load_detector, propose, rpn_head
from mmdet_klrpn.evaluation.split_items import split_items
from mmdet_klrpn.utils import (
    ToolParser,
    distinct_names,
    one_line_errors,
    read_config,
)
from mmdet_klrpn.visualization import draw_overview, seen_image

Model = Tuple[str, nn.Module]


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_detector()
    parser.add_argument(
        'images', nargs='+', type=Path, metavar='image', help='image files'
    )
    parser.add_argument(
        '--baseline',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='detector to compare with, such as one with an ordinary RPN',
    )
    parser.add_argument(
        '--ground-truth',
        action='store_true',
        help='draw objects; the images must be in test_dataloader',
    )
    parser.add_argument(
        '--top', type=int, default=30, help='best proposals per image'
    )
    parser.add_device()
    parser.add_argument(
        '--out', type=Path, required=True, help='output folder'
    )
    args = parser.parse_args()
    if args.top < 1:
        raise ValueError(f'--top must be at least 1, but got {args.top}')
    names = distinct_names(args.images)
    pictures = [args.out / f'{name}.jpg' for name in names]
    check_images(args.images, pictures)
    config = read_config(args.config, args.cfg_options)
    sources = [(config, args.checkpoint)]
    if args.baseline:
        sources.insert(0, (read_config(args.baseline[0]), args.baseline[1]))
    models = load_models(sources, args.device)
    objects: Dict[Path, np.ndarray] = {}
    if args.ground_truth:
        objects = ground_truth(config, args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    for path, picture in zip(args.images, pictures):
        draw(path, models, args.top, picture, objects.get(path))
        print(picture)


def draw(
    path: Path,
    models: Sequence[Model],
    top: int,
    picture: Path,
    truth: Optional[np.ndarray],
) -> None:
    """Draw the best proposals of named models for an image, as a JPEG.

    Raises:
        ValueError: If the file is not an image, or the detectors load it
            differently.
    """
    images, stages = [], []
    for name, model in models:
        data = load_image(model, path)
        images.append(seen_image(data['inputs'], data['data_samples']))
        (stage,) = propose(model, pseudo_collate([data]))
        stages.append((name, stage))
    shapes = {image.shape[:2] for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f'the test pipelines of both configs load {path} in different '
            f'sizes, {" and ".join(map(str, sorted(shapes)))}: draw them one '
            'by one, without --baseline'
        )
    figure = draw_overview(images[-1], stages, top, truth)
    figure.savefig(picture, dpi=80, pil_kwargs=dict(quality=85))


def check_images(images: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Raise an error if an image is missing or a picture would overwrite one.

    A file in the folder of an image may be an image too.
    """
    folders = set()
    for path in images:
        if not path.is_file():
            raise FileNotFoundError(f'there is no image {path}')
        # Check the folder of a link and that of its target.
        folders |= {path.parent.resolve(), path.resolve().parent}
    for picture in pictures:
        if picture.exists() and picture.parent.resolve() in folders:
            raise ValueError(
                f'the picture {picture} would overwrite a file in a folder of '
                'images: name another --out'
            )


def ground_truth(
    config: Config, images: Sequence[Path]
) -> Dict[Path, np.ndarray]:
    """Boxes (n, 4) of each image, from the test set of a config.

    Raises:
        ValueError: If an image is not in it.
    """
    infos = (data.get_data_info(i) for data, i in split_items(config, 'test'))
    known = {Path(info['img_path']).resolve(): info for info in infos}
    found = {}
    for path in images:
        if path.resolve() not in known:
            raise ValueError(
                f'{path} is not an image of test_dataloader.dataset, whose '
                'objects --ground-truth draws: leave one of them out'
            )
        objects = known[path.resolve()]['instances']
        boxes = [x['bbox'] for x in objects if not x['ignore_flag']]
        found[path] = np.array(boxes, dtype=float).reshape(-1, 4)
    return found


def load_image(model: nn.Module, path: Path) -> dict:
    """Load an image by a detector's test pipeline, or raise a ValueError."""
    pipeline = Compose(get_test_pipeline_cfg(model.cfg))
    try:
        return pipeline(dict(img_path=str(path), img_id=0))
    except Exception as error:  # whatever a decoder or a transform may raise
        line = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'{path} is no image that can be read: {line}'
        ) from error


def load_models(
    sources: Sequence[Tuple[Config, str]], device: str
) -> List[Model]:
    """Load detectors, named after their configs.

    Raises:
        ValueError: If a detector has no proposals, or a checkpoint does not
            fit.
    """
    models = []
    names = distinct_names([config.filename for config, _ in sources])
    for name, (config, checkpoint) in zip(names, sources):
        model = load_detector(config, checkpoint, device)
        rpn_head(model)
        models.append((name, model))
    return models


if __name__ == '__main__':
    main()
