"""Where the study's miniature configs are."""

from conftest import ROOT

STUDY = ROOT / 'projects/kl_rpn_study'


def study_config(name):
    """Path of a miniature config."""
    return STUDY / 'configs' / name
