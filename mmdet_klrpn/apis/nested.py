"""Find the detector that predicts inside wrappers and nested models."""

from mmdet.models import SemiBaseDetector
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Remove wrappers that call the model ``module``, such as DetTTAModel."""
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model


def predicting_detector(model: nn.Module) -> nn.Module:
    """The detector whose predictions a model returns.

    Args:
        model (nn.Module): A detector, in any wrapper of :func:`unwrapped`; a
            semi-supervised one, whose teacher or student is meant, as
            ``semi_test_cfg.predict_on`` says; or a tracker, whose ``detector``
            is meant.

    Returns:
        nn.Module: That detector, or the model itself if it holds none.
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
