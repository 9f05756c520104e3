"""No operation that has no deterministic form on CUDA."""

import pytest
import torch
from refused_operations import CONDITIONS, REFUSED, RefusedOperations
from tiny_detectors import (
    ROI_HEADS,
    RPN_HEADS,
    batch,
    predict,
    tiny_detector,
    train,
)
from torch.nn.functional import interpolate
from torchvision.ops.roi_align import _roi_align

from mmdet_klrpn.models.dense_heads import second_look

PLANTED = {
    'aten::put_': (lambda x: x.take(torch.tensor([1, 1])), 'TakeBackward0'),
    'aten::upsample_bilinear2d_backward': (
        lambda x: interpolate(x[None, None], (4, 6), mode='bilinear'),
        'UpsampleBilinear2DBackward0',
    ),
    'aten::cumsum': (lambda x: x.detach().cumsum(0) + x, __file__),
    'aten::index_put_': (lambda x: _assigned(x.detach(), [1]) + x, __file__),
    'aten::median': (lambda x: x.median(dim=0)[0], __file__),
    'aten::scatter_reduce': (
        lambda x: x
        + x.detach().scatter_reduce(0, torch.zeros(2, 3).long(), x, 'prod'),
        'ScatterReduceBackward0',
    ),
}


def _assigned(x, index):
    x = x.clone()
    x[index] = 0
    return x


@pytest.mark.parametrize('name', PLANTED)
def test_what_is_refused_is_found_and_said_where(name):
    function, origin = PLANTED[name]
    with RefusedOperations() as mode:
        function(torch.ones(2, 3, requires_grad=True)).sum().backward()
    assert list(mode.found) == [name]
    assert mode.found[name].startswith(origin)


@pytest.mark.parametrize(
    'function',
    [
        lambda x: x.long().cumsum(0) * x,
        lambda x: _assigned(x, x > 0),
        lambda x: _assigned(x, (torch.tensor([1]), torch.tensor([2]))),
        lambda x: x.flatten().index_select(0, torch.tensor([1, 1])),
        lambda x: x.scatter_reduce(0, torch.zeros(1, 3).long(), x, 'amax'),
        lambda x: x.median(),
        lambda x: interpolate(x[None, None], (4, 6), mode='nearest'),
    ],
)
def test_what_has_a_deterministic_form_is_not(function):
    with RefusedOperations() as mode:
        function(torch.ones(2, 3, requires_grad=True)).sum().backward()
    assert not mode.found


@pytest.mark.parametrize('name', [*REFUSED, *CONDITIONS])
def test_the_names_are_of_operations(name):
    assert torch._C._jit_get_schemas_for_operator(name)


def refused(*heads):
    """Operations of a training step and a test that CUDA would refuse."""
    model = tiny_detector(*heads)
    with RefusedOperations() as mode:
        train(model, batch())
        predict(model, batch())
    # It would find nothing if it did not see both passes.
    assert 'aten::convolution_backward' in mode.seen
    return mode.found


@pytest.mark.parametrize('rpn_head', [*RPN_HEADS][1:])  # not mmdet's own
def test_rpn_heads_have_a_deterministic_form_on_cuda(rpn_head, monkeypatch):
    # What torchvision takes on CUDA if deterministic algorithms are asked for.
    monkeypatch.setattr(
        second_look,
        'roi_align',
        lambda x, boxes, size, scale, *args: _roi_align(
            x, boxes, scale, size, size, *args
        ),
    )
    assert not refused(rpn_head)


@pytest.mark.parametrize('roi_head', ROI_HEADS)
def test_roi_heads_have_a_deterministic_form_on_cuda(roi_head):
    found = refused('KLRPNHead', roi_head)
    assert not {name for name in found if not name.startswith('torchvision')}


def test_a_layer_of_torchvision_has_none():
    found = refused('KLRPNHead', 'PSRoIAlign')
    assert list(found) == ['torchvision::_ps_roi_align_backward']
