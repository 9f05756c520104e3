"""Find out why a file is not a checkpoint, without running it."""

import pickletools
import zipfile
from pathlib import Path
from typing import Optional

_ZIP = b'PK\x03\x04'
# First bytes of files that are often mistaken for checkpoints.
_FOREIGN = {
    b'\x89PNG': 'is a PNG picture',
    b'\xff\xd8\xff': 'is a JPEG picture',
    b'version https://git-lfs': 'is a Git LFS pointer, not the file itself',
    b'<': 'is a web page, such as a failed download leaves',
    b'\x80': 'is a pickle, but no whole one of torch.save',
}


def what_is_wrong(filename: str) -> Optional[str]:
    """Say why a file is not a checkpoint.

    Reads the whole file, so call it only for one that failed to load. Nothing
    is unpickled.

    Args:
        filename (str): A path, or a URL.

    Returns:
        str, optional: The fault, to follow the file's name; None for a URL or
        a valid file.
    """
    if '://' in filename:
        return None
    path = Path(filename).expanduser()
    if not path.is_file():
        return 'is no file'
    with path.open('rb') as file:
        start = file.read(32)
    if not start:
        return 'is empty'
    if not start.startswith(_ZIP):
        for magic, kind in _FOREIGN.items():
            if start.startswith(magic):
                return kind
        return f'is no file of torch.save, for it starts with {start[:8]!r}'
    if not zipfile.is_zipfile(path):
        size = path.stat().st_size
        return f'is cut short: its {size} bytes end within the archive'
    with zipfile.ZipFile(path) as archive:
        return _what_is_wrong_inside(archive)


def _what_is_wrong_inside(archive: zipfile.ZipFile) -> Optional[str]:
    """Say why a complete zip archive is not a checkpoint."""
    pickles = [x for x in archive.namelist() if x.endswith('/data.pkl')]
    if len(pickles) != 1:
        return 'is a zip archive, but not of torch.save'
    damaged = archive.testzip()
    if damaged is not None:
        return f'is damaged: {damaged} in it differs from its checksum'
    with archive.open(pickles[0]) as file:
        operations = pickletools.genops(file)
        code, value = next(
            (code.name, value)
            for code, value, _ in operations
            if code.name not in ('PROTO', 'FRAME')
        )
    if code == 'EMPTY_DICT' or value == 'collections OrderedDict':
        return None
    if code == 'GLOBAL':
        kind = 'an object made by ' + value.replace(' ', '.')
    else:
        kind = 'a list' if code == 'EMPTY_LIST' else 'a plain value'
    return f'holds {kind}, not a dict of weights'


def newest_sound(folder: Path, besides: str) -> Optional[Path]:
    """Find the last valid checkpoint in a folder.

    Args:
        folder (Path): Folder of checkpoints.
        besides (str): A file to leave out.

    Returns:
        Path, optional: The checkpoint, or None.
    """
    paths = [x for x in folder.glob('*.pth') if x.name != Path(besides).name]
    for path in sorted(paths, key=lambda x: x.stat().st_mtime, reverse=True):
        if what_is_wrong(str(path)) is None:
            return path
    return None
