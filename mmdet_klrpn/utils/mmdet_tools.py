"""Run the command-line tools that mmdet installs, ours registered."""

import os
import runpy
import sys
from pathlib import Path

import mmdet
import mmengine.runner.runner
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmdet_klrpn.engine.runner import CheckpointRunner

from .conversion import resolve_config


def run_mmdet_tool(name: str) -> None:
    """Run one of mmdet's own tools in this process, as ``__main__``.

    Its command line, help and behaviour are mmdet's, except that
    ``--launcher pytorch`` works without an accelerator too, through gloo, that
    a config which is no file is looked for by its name in mmdet's, and that a
    checkpoint which is broken or another model's, and a class to train on that
    the annotations do not have, are named as such.

    Args:
        name (str): File name in mmdet's tools, such as 'train.py'.

    Raises:
        FileNotFoundError: If the installed mmdet carries no such tool, or no
            config of the name given.
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
    if len(sys.argv) > 1 and not sys.argv[1].startswith('-'):
        sys.argv[1] = str(resolve_config(sys.argv[1]))
    if _launcher(sys.argv) == 'pytorch' and get_device() == 'cpu':
        _distribute_on_cpu()
    # Tools import it from there, and a runner_type in the config would be
    # saved with every checkpoint.
    mmengine.runner.Runner = CheckpointRunner
    runpy.run_path(str(tool), run_name='__main__')


def _launcher(argv: list) -> str:
    """Value of --launcher, in either of its spellings."""
    for position, word in enumerate(argv):
        if word == '--launcher' and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith('--launcher='):
            return word.split('=', 1)[1]
    return 'none'


class _CPUDistributedDataParallel(MMDistributedDataParallel):
    """Without the device ids that mmengine passes, which a CPU has not."""

    def __init__(self, module: nn.Module, device_ids: list, **kwargs) -> None:
        super().__init__(module=module, **kwargs)


def _distribute_on_cpu() -> None:
    """Make the two steps work for which mmengine requires an accelerator."""
    if 'RANK' not in os.environ:
        raise RuntimeError(
            '--launcher pytorch needs the environment of torchrun: '
            'use tools/dist_train.sh or tools/dist_test.sh'
        )
    # Its launcher would set a CUDA device, but keeps a group that exists.
    dist.init_process_group('gloo')
    # It is named in the runner's module, and no config can replace it without
    # losing find_unused_parameters.
    mmengine.runner.runner.MMDistributedDataParallel = (
        _CPUDistributedDataParallel
    )
