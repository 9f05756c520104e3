"""Maps over the image and the vote of an RoI's bins."""

import pytest
import torch

from mmdet_klrpn.models import RFCNBBoxHead

K = 3
STRIDE = 16


def small_head(**kwargs):
    """A head of two classes and K x K bins."""
    return RFCNBBoxHead(
        in_channels=8,
        conv_out_channels=16,
        roi_feat_size=K,
        num_classes=2,
        **kwargs,
    )


@pytest.mark.parametrize(('agnostic', 'offsets'), [(True, 4), (False, 8)])
def test_channels_are_those_of_the_paper(agnostic, offsets):
    head = small_head(reg_class_agnostic=agnostic)
    score_maps, box_maps = head.score_maps(torch.randn(2, 8, 5, 6))
    assert score_maps.shape == (2, K * K * (2 + 1), 5, 6)
    assert box_maps.shape == (2, K * K * offsets, 5, 6)


def test_default_sizes_are_those_of_the_paper():
    head = RFCNBBoxHead(num_classes=80)
    shapes = {n: tuple(p.shape[:2]) for n, p in head.named_parameters()}
    assert shapes == {
        'rfcn_conv.weight': (1024, 2048),
        'rfcn_conv.bias': (1024,),
        'rfcn_cls.weight': (7 * 7 * 81, 1024),
        'rfcn_cls.bias': (7 * 7 * 81,),
        'rfcn_reg.weight': (7 * 7 * 4, 1024),
        'rfcn_reg.bias': (7 * 7 * 4,),
    }


def test_maps_are_two_convolutions():
    """Each cell by itself, written as matrix products."""
    head = small_head()
    x = torch.randn(1, 8, 4, 5)
    score_maps, box_maps = head.score_maps(x)
    cell = x[0, :, 2, 3]
    weight = {
        n: p.flatten(1) for n, p in head.named_parameters() if p.dim() > 1
    }
    hidden = weight['rfcn_conv.weight'] @ cell + head.rfcn_conv.bias
    hidden = hidden.clamp(min=0)
    scores = weight['rfcn_cls.weight'] @ hidden + head.rfcn_cls.bias
    boxes = weight['rfcn_reg.weight'] @ hidden + head.rfcn_reg.bias
    torch.testing.assert_close(score_maps[0, :, 2, 3], scores)
    torch.testing.assert_close(box_maps[0, :, 2, 3], boxes)


def test_vote_is_the_mean_of_the_bins():
    cls_bins = torch.randn(5, 3, K, K)
    reg_bins = torch.randn(5, 4, K, K)
    cls_score, bbox_pred = small_head()((cls_bins, reg_bins))
    for n in range(5):
        for c in range(3):
            vote = sum(cls_bins[n, c].flatten().tolist()) / K**2
            assert cls_score[n, c].item() == pytest.approx(vote, abs=1e-6)
        for d in range(4):
            vote = sum(reg_bins[n, d].flatten().tolist()) / K**2
            assert bbox_pred[n, d].item() == pytest.approx(vote, abs=1e-6)


def test_initial_weights():
    head = small_head()
    head.init_weights()
    he = (2 / 16) ** 0.5  # He et al. 2015, of 16 channels out
    for name, std in (('conv', he), ('cls', 0.01), ('reg', 0.001)):
        layer = getattr(head, f'rfcn_{name}')
        assert std / 2 < layer.weight.std() < 2 * std, name
        assert layer.bias.abs().max() == 0, name
