"""Where the study's miniature configs are."""

from conftest import ROOT

STUDY = ROOT / 'projects/kl_rpn_study'


def study_config(name):
    """Path of a miniature config."""
    places = STUDY / 'configs', *(ROOT / 'configs').iterdir()
    return next(p / name for p in places if (p / name).is_file())
