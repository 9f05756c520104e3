"""Put tools, configs and the model index where mim looks for them."""

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
COPYING = {'bdist_wheel', 'sdist'}
# Editable installs of either kind read the repository itself.
LINKING = {'develop', 'editable_wheel'}


def add_mim_extension() -> None:
    """Fill mmdet_klrpn/.mim, by links when developing, else by copies."""
    linking = not LINKING.isdisjoint(sys.argv)
    if not linking and COPYING.isdisjoint(sys.argv):
        return
    target = ROOT / 'mmdet_klrpn' / '.mim'
    target.mkdir(exist_ok=True)
    for name in ('tools', 'configs', 'model-index.yml'):
        source, copy = ROOT / name, target / name
        if not source.exists():  # building from an sdist, which carries .mim
            continue
        if copy.is_symlink() or copy.is_file():
            copy.unlink()
        elif copy.is_dir():
            shutil.rmtree(copy)
        if linking:
            copy.symlink_to(os.path.relpath(source, target))
        elif source.is_dir():
            shutil.copytree(
                source, copy, ignore=shutil.ignore_patterns('__pycache__')
            )
        else:
            shutil.copy(source, copy)


if __name__ == '__main__':
    add_mim_extension()
    setup()
