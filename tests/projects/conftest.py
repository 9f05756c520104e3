"""Where the study is, and a small data set for it."""

from pathlib import Path

import pytest
from conftest import ROOT, write_tiny_config

STUDY = ROOT / 'projects/kl_rpn_study'


def study_config(name: str) -> Path:
    """A miniature config by its file name."""
    (path,) = (
        *(STUDY / 'configs').glob(name),
        *ROOT.glob(f'configs/*/{name}'),
    )
    return path
