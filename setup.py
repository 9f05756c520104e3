"""Put tools, configs, plans and the model index where mim looks for them."""

import os
import shutil
import sys
from pathlib import Path
from typing import List

from setuptools import setup

ROOT = Path(__file__).resolve().parent
COPYING = {'bdist_wheel', 'sdist'}
# Editable installs of either kind read the repository itself.
LINKING = {'develop', 'editable_wheel'}
# Folders of .mim, and what stays in the repository: scripts that time this
# package's parts, and tools that need a clone.
NOT_COPIED = {
    'tools': ['demo.py', 'gallery.py', 'docs', 'setup_env.*'],
    'configs': [],
    'benchmarks': ['*.py'],
}


def add_mim_extension() -> None:
    """Fill mmdet_klrpn/.mim, by links when developing, else by copies."""
    linking = not LINKING.isdisjoint(sys.argv)
    if not linking and COPYING.isdisjoint(sys.argv):
        return
    target = ROOT / 'mmdet_klrpn' / '.mim'
    target.mkdir(exist_ok=True)
    for name in (*NOT_COPIED, 'model-index.yml'):
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
            ignore = shutil.ignore_patterns('__pycache__', *NOT_COPIED[name])
            shutil.copytree(source, copy, ignore=ignore)
        else:
            shutil.copy(source, copy)
    names = ROOT / 'configs' / 'mmdet.txt'
    if names.exists():
        add_mmdet_configs(target / 'mmdet', names.read_text().split())


def add_mmdet_configs(folder: Path, names: List[str]) -> None:
    """Let mim find mmdet's configs by name, each read from mmdet itself."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_base_ = 'mmdet::{name}'\n")


if __name__ == '__main__':
    add_mim_extension()
    setup()
