"""Outputs that overwrite neither each other nor an input."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Union

# Of a name, in bytes: file systems take 255, with what is added to it.
LONGEST = 180


def distinct_names(paths: Sequence[str]) -> List[str]:
    """Names for outputs that are called after files, one name for each file.

    A name is the file's stem, or as much of the end of its path as no other
    path has: of ``a/1.jpg``, ``b/1.jpg`` and ``b/2.jpg`` they are
    ``a_1.jpg``, ``b_1.jpg`` and ``2``. Only letters, digits, ``_``, ``-`` and
    ``.`` are in them, as in the tags that TensorBoard takes.

    Args:
        paths (Sequence[str]): Paths of files, which need not exist. The same
            file may be there more than once.

    Returns:
        list[str]: A name for each path, without the suffix of the output.
    """
    paths = [os.path.abspath(path) for path in paths]
    counts = Counter(
        name for path in set(paths) for name in set(_candidates(path))
    )
    return [
        next(name for name in _candidates(path) if counts[name] == 1)
        for path in paths
    ]


def _candidates(path: str) -> Iterator[str]:
    """Names for a file, from its stem to one that no other file has."""
    parts = Path(path).parts
    yield _clean(Path(path).stem)
    for i in range(1, len(parts)):
        yield _clean('_'.join(parts[-i:]))
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    yield f'{_clean(Path(path).stem)}_{digest[:16]}'


def _clean(text: str) -> str:
    text = re.sub(r'[^\w.-]', '_', text)
    return text.encode()[-LONGEST:].decode(errors='ignore')


def check_output(out: Path, *inputs: Optional[Union[str, Path]]) -> None:
    """Check that an output is not one of the inputs, by any of its names.

    Args:
        out (Path): The file to write.
        *inputs (str or Path, optional): Files that are read. What is no file,
            such as the name of one of mmdet's configs, is passed over.

    Raises:
        ValueError: If the output would overwrite an input.
    """
    for path in inputs:
        both = path and out.exists() and os.path.exists(path)
        if both and out.samefile(path):
            raise ValueError(
                f'{out} would overwrite {path}, which is read: name another '
                'file to write'
            )


def write_whole(path: Path, text: str) -> None:
    """Write a file that others find whole or, if this is cut off, not."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text)
    part.replace(path)
