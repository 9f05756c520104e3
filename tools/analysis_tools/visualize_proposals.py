#!/usr/bin/env python
"""Draw what a detector's first stage proposes, and how sure it is where.

For each image a JPEG with its name: the best proposals with a band of one
standard deviation around each edge, the baseline's beside them if one is
given, and the standard deviation over the image for each level of KL-RPN.
"""

import argparse
from pathlib import Path
from typing import List, Sequence, Tuple

from mmcv.transforms import Compose
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from torch import nn

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import load_detector, propose, rpn_head
from mmdet_klrpn.utils import distinct_names
from mmdet_klrpn.visualization import draw_overview, seen_image

Model = Tuple[str, nn.Module]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a detector with an RPN')
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument('images', nargs='+', type=Path, metavar='image')
    parser.add_argument(
        '--baseline',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a detector to draw beside it, such as one with an ordinary RPN',
    )
    parser.add_argument(
        '--top', type=int, default=30, help='how many proposals to draw'
    )
    parser.add_argument('--device', default=get_device())
    parser.add_argument('-o', '--out-dir', type=Path, required=True)
    args = parser.parse_args()
    try:
        if args.top < 1:
            raise ValueError(f'--top must be at least 1, but got {args.top}')
        names = distinct_names(args.images)
        pictures = [args.out_dir / f'{name}.jpg' for name in names]
        check_images(args.images, pictures)
        sources = [(args.config, args.checkpoint)]
        if args.baseline:
            sources.insert(0, tuple(args.baseline))
        models = load_models(sources, args.device)
        args.out_dir.mkdir(parents=True, exist_ok=True)
        for path, picture in zip(args.images, pictures):
            draw(path, models, args.top, picture)
            print(picture)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def draw(path: Path, models: Sequence[Model], top: int, picture: Path) -> None:
    """Draw the best proposals of named models for an image, as a JPEG.

    Raises:
        ValueError: If it is no image, or the detectors load it differently.
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
    figure = draw_overview(images[-1], stages, top)
    figure.savefig(picture, dpi=80, pil_kwargs=dict(quality=85))


def check_images(images: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Raise unless all images exist and no picture overwrites a file there.

    A file in the folder of an image may be an image too.
    """
    folders = set()
    for path in images:
        if not path.is_file():
            raise FileNotFoundError(f'there is no image {path}')
        # A link has a folder, and so has what it leads to.
        folders |= {path.parent.resolve(), path.resolve().parent}
    for picture in pictures:
        if picture.exists() and picture.parent.resolve() in folders:
            raise ValueError(
                f'the picture {picture} would overwrite a file in a folder of '
                'images: name another --out-dir'
            )


def load_image(model: nn.Module, path: Path) -> dict:
    """An image through the test pipeline of a detector, or a ValueError."""
    pipeline = Compose(get_test_pipeline_cfg(model.cfg))
    try:
        return pipeline(dict(img_path=str(path), img_id=0))
    except Exception as error:  # whatever a decoder or a transform may raise
        line = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'{path} is no image that can be read: {line}'
        ) from error


def load_models(
    sources: Sequence[Tuple[str, str]], device: str
) -> List[Model]:
    """Detectors of configs and checkpoints, named after their configs.

    Raises:
        ValueError: If a detector proposes no regions, or a checkpoint is not
            of its config.
    """
    models = []
    names = distinct_names([config for config, _ in sources])
    for name, (config, checkpoint) in zip(names, sources):
        model = load_detector(config, checkpoint, device)
        rpn_head(model)
        models.append((name, model))
    return models


if __name__ == '__main__':
    main()
