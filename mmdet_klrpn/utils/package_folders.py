"""Where configs, tools and plans are, in a checkout and in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def package_folder(name: str) -> Path:
    """A folder of the repository: 'configs', 'tools' or 'benchmarks'.

    A wheel has it in ``.mim``, where mim looks for the first two.
    """
    root = PACKAGE.parent
    if (root / 'setup.py').is_file():  # a checkout
        return root / name
    return PACKAGE / '.mim' / name
