#!/usr/bin/env python
"""Fit one factor for the stds of boxes, and write a config with it.

The factor minimises the negative log-likelihood of the errors of proposals or
detections, on images that are loaded by the test pipeline. The config inherits
the given one and changes only these stds: no score, box or loss. --cfg-options
apply to the fit only and are not written.
"""

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Sequence

from mmengine.config import Config

from mmdet_klrpn.evaluation import STAGES, FirstStageErrors
from mmdet_klrpn.evaluation.functional import fit_std_scale, std_calibration
from mmdet_klrpn.utils import ToolParser, one_line_errors, read_config
from mmdet_klrpn.utils.inheriting_config import base_name, render


def recalibrate(
    stage: FirstStageErrors, out: Path, top: int, images: int, split: str
) -> str:
    """Fit the factor on the best boxes and write the config ``out``.

    Returns:
        str: A line for users that says what changed.

    Raises:
        ValueError: If the head predicts no stds, or too few of its boxes are
            on an object.
    """
    head, place = stage.head, '.'.join(stage.place)
    if not stage.has_stds:
        raise ValueError(
            f'{place}.type must be a head of this package that predicts stds, '
            f'such as {stage.example}, but got {type(head).__name__}'
        )
    _, _, errors, stds, sizes = stage.errors(split, top, images)
    # The stds already have the scale of the given config.
    scale = float(f'{head.std_scale * fit_std_scale(errors, stds):.4g}')
    write(Path(stage.config.filename), stage.place, scale, out)
    before, after = (
        std_calibration(errors, stds * factor, sizes)
        for factor in (1, scale / head.std_scale)
    )
    return (
        f'{out}: std_scale={scale}, of {len(errors)} {stage.boxes}; on the '
        f'images of {split}_dataloader NLL {before["nll"]:.3f} -> '
        f'{after["nll"]:.3f}, coverage@95 {before["coverage@95"]:.3f} -> '
        f'{after["coverage@95"]:.3f}'
    )


def write(config: Path, place: Sequence[str], scale: float, out: Path) -> None:
    """Write a config that inherits one and adds the factor, if possible."""
    given = None
    if not Config._is_lazy_import(str(config)):
        given = reduce(getitem, place, Config.fromfile(config))
    if not isinstance(given, dict):
        raise ValueError(
            f'no config can change {".".join(place)} of {config} alone, which '
            'is in pure Python style, or a list of stages: set '
            f'std_scale={scale} there'
        )
    overrides: dict = dict(std_scale=scale)
    for key in reversed(place):
        overrides = {key: overrides}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(dict(_base_=base_name(config, out), **overrides)))


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_detector()
    parser.add_device()
    parser.add_argument(
        '--out', type=Path, required=True, help='config to write'
    )
    parser.add_sample()
    args = parser.parse_args()
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists already')
    config = read_config(args.config, args.cfg_options)
    stage = STAGES[args.of](config, args.checkpoint, args.device)
    split = args.split or stage.split
    print(recalibrate(stage, args.out, args.top, args.images, split))


if __name__ == '__main__':
    main()
