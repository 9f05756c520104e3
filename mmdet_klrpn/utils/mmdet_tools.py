"""Run the command-line tools that mmdet installs, ours registered."""

import runpy
import sys
from pathlib import Path

import mmdet
import mmengine.runner.runner

from mmdet_klrpn.engine.runner import CheckpointRunner

from .conversion import resolve_config
from .launchers import prepare_launcher


def run_mmdet_tool(name: str) -> None:
    """Run one of mmdet's own tools in this process, as ``__main__``.

    Its command line, help and behaviour are mmdet's, with these exceptions: a
    launcher works without an accelerator too, through gloo; each job of Slurm
    has a port of its own; a config which is no file is looked for by its name
    in mmdet's; and a checkpoint which is broken or another model's, and a
    class to train on that the annotations do not have, are named as such.

    Args:
        name (str): File name in mmdet's tools, such as 'train.py'.

    Raises:
        FileNotFoundError: If the installed mmdet carries no such tool, or no
            config of the name given.
        RuntimeError: If what ``--launcher`` names did not start this process.
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
    prepare_launcher(_launcher(sys.argv))
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
