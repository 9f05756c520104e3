"""Run mmdet's command-line tools with this package registered."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import mmdet
import mmengine.runner.runner

from mmdet_klrpn.engine.runner import CheckpointRunner

from .conversion import resolve_config
from .errors import one_line_errors
from .launchers import prepare_launcher

# What to do after Ctrl-C.
_ADVICE = {'train.py': 'run again with --resume to continue'}


def run_mmdet_tool(name: str) -> None:
    """Run one of mmdet's own tools in this process, as ``__main__``.

    Its command line, help and behaviour are mmdet's, except that a launcher
    works without an accelerator, through gloo; each Slurm job has its own
    port; a config may be a name of this package or of mmdet; a checkpoint that
    is broken or of another model, and a training class without annotations,
    are errors; and users' mistakes take one line.

    Args:
        name (str): File name in mmdet's tools, such as 'train.py'.

    Raises:
        SystemExit: If mmdet has no such tool, the config does not exist,
            ``--launcher`` did not start this process, or on another known
            mistake.
    """
    with one_line_errors(_ADVICE.get(name, '')):
        tool = _find_tool(name)
        if len(sys.argv) > 1 and not sys.argv[1].startswith('-'):
            sys.argv[1] = str(resolve_config(sys.argv[1]))
        prepare_launcher(_launcher(sys.argv))
        # Patch it where tools import it: a runner_type in the config would be
        # saved with every checkpoint.
        mmengine.runner.Runner = CheckpointRunner
        run_script(tool)


def run_script(path: Path) -> None:
    """Run a script as ``__main__``, with ``sys.argv`` as it is.

    runpy would replace ``argv[0]``, which a tool's usage shows, by the
    script's path.
    """
    spec = spec_from_file_location('__main__', str(path))
    module = module_from_spec(spec)
    main, sys.modules['__main__'] = sys.modules['__main__'], module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules['__main__'] = main


def _find_tool(name: str) -> Path:
    root = Path(mmdet.__file__).parent
    # mim's place in an installed mmdet, then that of a source checkout.
    for folder in (root / '.mim' / 'tools', root.parent / 'tools'):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(
        f'{name} is not among the tools of mmdet {mmdet.__version__} in '
        f'{root}: reinstall it, for example with `mim install mmdet`'
    )


def _launcher(argv: list) -> str:
    """Value of --launcher, in either of its spellings."""
    for position, word in enumerate(argv):
        if word == '--launcher' and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith('--launcher='):
            return word.split('=', 1)[1]
    return 'none'
