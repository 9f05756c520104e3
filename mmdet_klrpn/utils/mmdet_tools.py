"""Run the command-line tools that mmdet installs, ours registered."""

import os
import runpy
import sys
from pathlib import Path

import mmdet
import torch
import torch.distributed as dist


def run_mmdet_tool(name: str) -> None:
    """Run one of mmdet's own tools in this process, as ``__main__``.

    Its command line, help and behaviour are mmdet's. Under
    ``--launcher pytorch`` without a GPU the process group is made here, on
    gloo: mmengine's launcher would ask for a CUDA device, but keeps a group
    that exists.

    Args:
        name (str): File name in mmdet's tools, such as 'train.py'.

    Raises:
        FileNotFoundError: If the installed mmdet carries no such tool.
    """
    root = Path(mmdet.__file__).parent
    # Where mim puts it in an installed mmdet, then that of a source checkout.
    for folder in (root / '.mim' / 'tools', root.parent / 'tools'):
        tool = folder / name
        if tool.exists():
            break
    else:
        raise FileNotFoundError(
            f'{name} is not among the tools of mmdet {mmdet.__version__} in '
            f'{root}: reinstall it, for example with `mim install mmdet`'
        )
    if _launcher(sys.argv) == 'pytorch' and not torch.cuda.is_available():
        _init_gloo()
    runpy.run_path(str(tool), run_name='__main__')


def _launcher(argv: list) -> str:
    """Value of --launcher, in either of its spellings."""
    for position, word in enumerate(argv):
        if word == '--launcher' and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith('--launcher='):
            return word.split('=', 1)[1]
    return 'none'


def _init_gloo() -> None:
    """Join the group that torchrun's environment describes."""
    if 'RANK' not in os.environ:
        raise RuntimeError(
            '--launcher pytorch needs the environment of torchrun: '
            'use tools/dist_train.sh or tools/dist_test.sh'
        )
    dist.init_process_group('gloo')
