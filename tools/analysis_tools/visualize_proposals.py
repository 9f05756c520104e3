#!/usr/bin/env python
"""Draw what a detector's first stage proposes, and how sure it is where.

Of each image a JPEG: the best proposals with a band of one standard deviation
around each edge, the baseline's beside them if one is given, and the standard
deviation over the image for each level of KL-RPN.
"""

import argparse
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import mmcv
import numpy as np
from mmcv.transforms import Compose
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from torch import nn

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import load_detector, propose, rpn_head
from mmdet_klrpn.visualization import draw_overview


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
        check_images(args.images)
        sources = [(args.config, args.checkpoint)]
        if args.baseline:
            sources.insert(0, tuple(args.baseline))
        models = load_models(sources, args.device)
        for path in args.images:
            print(draw(path, models, args.top, args.out_dir))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


def draw(
    path: Path, models: Sequence[Tuple[str, nn.Module]], top: int, folder: Path
) -> Path:
    """Draw what models propose for an image; the path of the picture."""
    image = read_image(path)
    stages = [
        (name, propose(model, batch_of(model, path))[0])
        for name, model in models
    ]
    figure = draw_overview(image, stages, top)
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f'{path.stem}.jpg'
    figure.savefig(picture, dpi=80, pil_kwargs=dict(quality=85))
    return picture


def check_images(paths: Sequence[Path]) -> None:
    """Check that image files exist and that each gives its own picture.

    Args:
        paths (Sequence[Path]): The files.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If two would give pictures of the same name.
    """
    stems: Dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'there is no image {path}')
        if path.stem in stems:
            raise ValueError(
                f'{stems[path.stem]} and {path} would both be drawn to '
                f'{path.stem}.jpg: draw them to two folders'
            )
        stems[path.stem] = path


def read_image(path: Path) -> np.ndarray:
    """An image, (H, W, 3), RGB, uint8; ValueError if it is none."""
    image = mmcv.imread(path)
    if image is None:
        raise ValueError(f'{path} is no image that can be read')
    return image[..., ::-1]


def load_models(
    sources: Sequence[Tuple[str, str]], device: str
) -> List[Tuple[str, nn.Module]]:
    """Detectors with an RPN, named after their configs.

    Args:
        sources (Sequence[tuple[str, str]]): A config and a checkpoint each.
        device (str): Where to put them.

    Returns:
        list[tuple[str, nn.Module]]: Names and detectors.

    Raises:
        ValueError: If a detector proposes no regions, or a checkpoint is not
            of its config.
    """
    models = []
    for config, checkpoint in sources:
        model = load_detector(config, checkpoint, device)
        rpn_head(model)
        models.append((Path(config).stem, model))
    return models


def batch_of(model: nn.Module, path: Path) -> dict:
    """An image through the test pipeline of a detector's config."""
    pipeline = Compose(get_test_pipeline_cfg(model.cfg))
    return pseudo_collate([pipeline(dict(img_path=str(path), img_id=0))])


if __name__ == '__main__':
    main()
