#!/usr/bin/env python
"""Write a config that replaces the RPN of a detector by KL-RPN.

The new config inherits the given one, a file or a name of mmdet's, and changes
only the head: a few lines, trained as any other config. A detector without an
anchor-based RPN is refused, with the reason.
"""

import re
from pathlib import Path

from mmengine.config import Config

from mmdet_klrpn.utils import ToolParser, one_line_errors
from mmdet_klrpn.utils.conversion import (
    resolve_config,
    root_cause,
    to_kl_rpn,
)
from mmdet_klrpn.utils.inheriting_config import base_name, render

# Written above the first evaluator that is replaced.
PROPOSAL_FAST = (
    "# The inherited metric='proposal_fast' fails on numpy 1.24 and later.\n"
)


def write(name: str, out: Path) -> None:
    """Write the config.

    Args:
        name (str): The config to inherit, as a path or one of mmdet's.
        out (Path): The file to write.

    Raises:
        ValueError: If KL-RPN cannot replace its RPN, or it is in mmengine's
            pure Python style.
        FileExistsError: If ``out`` exists already.
    """
    if out.exists():
        raise FileExistsError(f'{out} exists already')
    path = resolve_config(name)
    if Config._is_lazy_import(str(path)):
        raise ValueError(
            'the config is in pure Python style, which no other can inherit '
            'by name: import KLRPNHead there, and set the type of rpn_head'
        )
    try:
        config = Config.fromfile(path)
    except ImportError as error:
        raise ValueError(f'it imports more: {root_cause(error)}') from error
    overrides = to_kl_rpn(config)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = render(dict(_base_=base_name(path, out), **overrides))
    evaluator = re.compile('^(?=(val|test)_evaluator = )', re.MULTILINE)
    out.write_text(evaluator.sub(PROPOSAL_FAST, text, count=1))


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        'config', help='config, such as mask-rcnn_r50_fpn_1x_coco.py'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='config to write'
    )
    args = parser.parse_args()
    write(args.config, args.out)
    print(f'{args.out}: {args.config} with KL-RPN')


if __name__ == '__main__':
    main()
