"""Report users' mistakes in one line instead of a traceback."""

import inspect
import re
import sys
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Iterable, Iterator, Optional

from .package_folders import PACKAGE, package_folder

_DATA = re.compile(r'\.(json|txt|xml|jpe?g|png|tiff?)\b', re.IGNORECASE)
_UNKNOWN = re.compile(r"got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r'missing \d+ required .* arguments?: (.*)')
_NO_CLASS = re.compile(r'(\S+) is not in the (\S+) registry')


@contextmanager
def one_line_errors(advice: str = '') -> Iterator[None]:
    """End the program with one line for errors that a user can fix.

    Errors that :func:`explain` does not know keep their traceback. With
    ``--debug`` in ``sys.argv``, from where it is removed, all do.

    Args:
        advice (str): What to do after Ctrl-C.

    Raises:
        SystemExit: With status 1 and the line, or with 130 after Ctrl-C.
    """
    debug = '--debug' in sys.argv
    sys.argv[1:] = [word for word in sys.argv[1:] if word != '--debug']
    name = Path(sys.argv[0]).name
    try:
        yield
    except KeyboardInterrupt as signal:
        if debug:
            raise
        line = '; '.join(filter(None, (str(signal) or 'stopped', advice)))
        print(f'{name}: {line}', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = None if debug else explain(error)
        if line is None:
            raise
        sys.exit(f'{name}: {line}')


def explain(error: BaseException) -> Optional[str]:
    """Say what a user can do about an error.

    Args:
        error (BaseException): The error that was caught.

    Returns:
        str, optional: The error's own text if this package or the script that
        runs raised it; another text for a misspelt class or option of a
        config, and for a file that is missing or not writable. None for other
        errors.
    """
    if _is_ours(error):
        return str(error)
    # Older versions of mmengine wrap errors of a class being built.
    inner = error.__context__
    if inner is not None and str(inner) and str(inner) in str(error):
        line = explain(inner)
        if line is not None:
            return line
    if isinstance(error, (TypeError, KeyError)):
        return _explain_build(error)
    if isinstance(error, ValueError):
        return _explain_option(error)
    return _explain_file(error) if isinstance(error, OSError) else None


def suggest(name: object, known: Iterable[str]) -> str:
    """Suggest a known name for a misspelt one; '' if none is close."""
    near = get_close_matches(str(name), list(known), 1)
    return f' (did you mean {near[0]}?)' if near else ''


def _is_ours(error: BaseException) -> bool:
    """Whether a statement of this package, or beside the script, raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    script = Path(sys.argv[0]).resolve().parent
    folders = (PACKAGE, package_folder('tools'), script)
    return (
        bool(frames)
        and frames[-1].line.startswith('raise ')
        and any(root in Path(frames[-1].filename).parents for root in folders)
    )


def _explain_build(error: BaseException) -> Optional[str]:
    """Explain a class or option that a config misspells or lacks."""
    found = {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == 'build_from_cfg':  # of mmengine
            found = frame.f_locals
    text = str(error)
    misspelt = _NO_CLASS.search(text)
    if misspelt and 'registry' in found:
        name, scope = misspelt.groups()
        name = name.strip('\'"')
        near = suggest(name, found['registry'].module_dict)
        return (
            f'{name}{near} is not in the registry {scope}: correct it, or '
            'import the package that has it by custom_imports'
        )
    cls, options = found.get('obj_cls'), found.get('args', {})
    unknown, missing = _UNKNOWN.search(text), _MISSING.search(text)
    if unknown and unknown.group(1) in options:
        name = unknown.group(1)
        known = {
            option
            for base in getattr(cls, '__mro__', [])
            for option in inspect.signature(base.__init__).parameters
        }
        return f'{cls.__name__}: unknown {name}{suggest(name, known)}'
    if missing and cls:
        return f'{cls.__name__}: {missing.group(1)} is missing'
    return None


def _explain_option(error: ValueError) -> Optional[str]:
    """Explain a word without '=' after --cfg-options."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        word = frame.f_locals.get('kv', '=')
        if 'DictAction' in frame.f_globals and '=' not in word:
            return f'--cfg-options takes KEY=VALUE, but got {word}'
    return None


def _explain_file(error: OSError) -> Optional[str]:
    """Explain a file that is missing, or cannot be read or written."""
    # A data loader's worker passes on its traceback, which ends with the
    # error.
    text = str(error).strip().splitlines()[-1]
    text = re.sub(r'^(\w+Error: )?(\[Errno \d+\] )?', '', text)
    if isinstance(error, FileNotFoundError):
        text = re.sub(r'No such file.*: (.*)', r'\1 does not exist', text)
        if not _DATA.search(text):
            return text
        place = '' if "'/" in text else f' in {Path.cwd()}'
        return (
            f'{text}{place}: put or link the data there, or set data_root and '
            'ann_file in the config to where it is; docs/coco.md shows the '
            'folders'
        )
    places = (PermissionError, NotADirectoryError, FileExistsError)
    if isinstance(error, places) or 'Read-only' in text:
        return f'{text}: name another place by --work-dir or --out'
    return None
