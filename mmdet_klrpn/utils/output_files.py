"""Outputs that overwrite neither each other nor an input."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Union

# Bytes of a name: file systems take 255, with additions.
LONGEST = 180


def distinct_names(paths: Sequence[str]) -> List[str]:
    """Name outputs after files, with a different name for each file.

    A name is the file's stem, or as much of its path as makes it unique:
    ``a/1.jpg``, ``b/1.jpg`` and ``b/2.jpg`` become ``a_1.jpg``, ``b_1.jpg``
    and ``2``. It has only letters, digits, ``_``, ``-`` and ``.``, as in
    TensorBoard's tags.

    Args:
        paths (Sequence[str]): Paths of files, which need not exist and may
            repeat.

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
    """Yield names for a file, from its stem to longer ones."""
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
    """Check that an output is not one of the inputs.

    Args:
        out (Path): The file to write.
        *inputs (str or Path, optional): Files that are read. Other values,
            such as names of mmdet's configs, are ignored.

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
    """Write a file completely or, if interrupted, not at all."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text)
    part.replace(path)
