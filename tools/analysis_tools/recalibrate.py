#!/usr/bin/env python
"""Fit one factor on KL-RPN's stds, and write a config that has it.

The factor minimises the negative log-likelihood of the errors of proposals on
the training images, seen as in a test. The config inherits the given one and
changes nothing but the stds that proposals carry: no score, box or loss.
Settings by --cfg-options hold for the fit alone and are not written.
"""

from pathlib import Path

from mmengine.config import Config

from mmdet_klrpn.apis import rpn_head
from mmdet_klrpn.evaluation import FirstStageErrors
from mmdet_klrpn.evaluation.functional import fit_std_scale, std_calibration
from mmdet_klrpn.models import KLRPNHead
from mmdet_klrpn.utils import ToolParser, one_line_errors, read_config
from mmdet_klrpn.utils.conversion import find_rpn_head
from mmdet_klrpn.utils.inheriting_config import base_name, render


def recalibrate(
    stage: FirstStageErrors, out: Path, top: int, images: int
) -> str:
    """Fit the factor on the best proposals and write the config ``out``.

    Returns:
        str: What changed, in a line for users.

    Raises:
        ValueError: If the detector has no KLRPNHead, or too few of its
            proposals are on an object.
    """
    place = '.'.join(find_rpn_head(stage.config))
    head = rpn_head(stage.model)
    if not isinstance(head, KLRPNHead):
        raise ValueError(
            f'{place}.type must be KLRPNHead, which predicts stds, but got '
            f'{type(head).__name__}'
        )
    _, _, errors, stds, sizes = stage.errors('train', top, images)
    # The stds at hand have the scale of the given config already.
    scale = float(f'{head.std_scale * fit_std_scale(errors, stds):.4g}')
    write(Path(stage.config.filename), scale, out)
    before, after = (
        std_calibration(errors, stds * factor, sizes)
        for factor in (1, scale / head.std_scale)
    )
    return (
        f'{out}: std_scale={scale}, of {len(errors)} proposals; on the '
        f'training images NLL {before["nll"]:.3f} -> {after["nll"]:.3f}, '
        f'coverage@95 {before["coverage@95"]:.3f} -> '
        f'{after["coverage@95"]:.3f}'
    )


def write(config: Path, scale: float, out: Path) -> None:
    """Write a config that inherits one and has the factor, if it can."""
    if Config._is_lazy_import(str(config)):
        raise ValueError(
            'the config is in pure Python style, which no other can inherit '
            f'by name: set std_scale={scale} of its rpn_head'
        )
    overrides: dict = dict(std_scale=scale)
    for key in reversed(find_rpn_head(Config.fromfile(config))):
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
        '--out', type=Path, required=True, help='the config to write'
    )
    parser.add_sample()
    args = parser.parse_args()
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists already')
    config = read_config(args.config, args.cfg_options)
    stage = FirstStageErrors(config, args.checkpoint, args.device)
    print(recalibrate(stage, args.out, args.top, args.images))


if __name__ == '__main__':
    main()
