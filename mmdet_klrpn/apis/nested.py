"""The detector that predicts, inside of the models that hold it."""

from mmdet.models import SemiBaseDetector
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """A model out of wrappers that call it ``module``, such as DetTTAModel."""
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model


def predicting_detector(model: nn.Module) -> nn.Module:
    """The detector whose predictions a model returns.

    Args:
        model (nn.Module): A detector, in any of :func:`unwrapped`'s wrappers;
            a semi-supervised one, of which it is the teacher or the student,
            as ``semi_test_cfg.predict_on`` says; or a tracker, of which it is
            the ``detector``.

    Returns:
        nn.Module: That detector. A model that holds none is its own.
    """
    model = unwrapped(model)
    if isinstance(model, SemiBaseDetector):
        # As SemiBaseDetector.predict.
        test_cfg = model.semi_test_cfg or {}
        predicts = test_cfg.get('predict_on', 'teacher')
        inner = model.teacher if predicts == 'teacher' else model.student
    else:
        inner = getattr(model, 'detector', None)
    return predicting_detector(inner) if inner is not None else model
