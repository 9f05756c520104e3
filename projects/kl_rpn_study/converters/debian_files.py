"""Files taken out of the Debian archive's packages."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import List, Sequence
from urllib.parse import unquote

VERSION_FILE = 'version.txt'


def fetch_from_debian(
    package: str, patterns: Sequence[str], folder: Path
) -> str:
    """Download a Debian package and extract some of its files.

    The package is not installed, and nobody has to be root. Nothing is
    downloaded if the files are there. Which version comes is the choice of the
    system's package lists: it is kept beside the files.

    Args:
        package (str): Name of the package.
        patterns (Sequence[str]): Globs of the files from the root of the
            package, as 'usr/share/NAME/**/*.png'.
        folder (Path): Where they go, under their path in the package.

    Returns:
        str: The package's version.

    Raises:
        RuntimeError: If the tools of Debian are not there, the package
            cannot be downloaded, or a pattern matches nothing in it.
    """
    version_file = folder / VERSION_FILE
    complete = all(any(folder.glob(pattern)) for pattern in patterns)
    if complete and version_file.exists():
        return version_file.read_text().strip()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive = _download(package, Path(temporary))
        unpacked = Path(temporary) / 'unpacked'
        _run(['dpkg-deb', '-x', archive.name, unpacked.name], archive.parent)
        chosen = Path(temporary) / 'chosen'
        for pattern in patterns:
            files = [p for p in unpacked.glob(pattern) if p.is_file()]
            if not files:
                raise RuntimeError(
                    f'{archive.name} has no file {pattern}: another release '
                    'of Debian is needed'
                )
            for file in files:
                target = chosen / file.relative_to(unpacked)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        # name_version_architecture.deb, with the epoch's colon quoted
        version = unquote(archive.name.split('_')[1])
        (chosen / VERSION_FILE).write_text(f'{version}\n')
        # What is there without a version was not made here in one piece.
        shutil.rmtree(folder, ignore_errors=True)
        chosen.rename(folder)
    return version


def _download(package: str, folder: Path) -> Path:
    """Download one package into a folder with apt."""
    _run(
        ['apt-get', 'download', package],
        folder,
        'If apt knows no such package, its lists are missing or old: run '
        '`apt-get update` as root',
    )
    archives = list(folder.glob(f'{package}_*.deb'))
    if len(archives) != 1:
        raise RuntimeError(f'apt-get download {package} has left no package')
    return archives[0]


def _run(command: List[str], folder: Path, remedy: str = '') -> None:
    """Run a tool of Debian's in a folder."""
    if shutil.which(command[0]) is None:
        raise RuntimeError(
            f'{command[0]} is not on this system: the files come from '
            'packages of Debian, so run this on Debian or Ubuntu (or in a '
            'container of one) and copy the folder that it writes'
        )
    result = subprocess.run(
        command,
        cwd=str(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(
            f'{" ".join(command)} failed:\n{result.stdout}{remedy}'
        )
