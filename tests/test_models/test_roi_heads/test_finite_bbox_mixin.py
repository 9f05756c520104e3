"""RoIs whose scores or offsets are not finite."""

import pytest
import torch
from mmengine.config import ConfigDict

from mmdet_klrpn.models import RFCNBBoxHead, VGGBBoxHead

TEST_CFG = ConfigDict(
    score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
)
META = dict(img_shape=(64, 96), scale_factor=(2.0, 0.5))


def predict(head, rois, *predictions):
    (result,) = head.predict_by_feat(
        (rois,),
        *([x] for x in predictions),
        batch_img_metas=[META],
        rcnn_test_cfg=TEST_CFG,
        rescale=True,
    )
    return result


@pytest.mark.parametrize('cls', [RFCNBBoxHead, VGGBBoxHead])
@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('part', [0, 1], ids=['score', 'offset'])
def test_rois_not_finite_are_dropped_and_no_other(cls, agnostic, value, part):
    torch.manual_seed(0)
    head = cls(in_channels=4, num_classes=2, reg_class_agnostic=agnostic)
    corners = torch.rand(6, 2) * 40
    rois = torch.cat([torch.zeros(6, 1), corners, corners + 20], dim=1)
    outputs = [torch.randn(6, 3), torch.randn(6, 4 if agnostic else 8)]
    spoiled = [x.clone() for x in outputs]
    spoiled[part][2, 1] = value
    given = predict(head, rois, *spoiled)
    others = torch.tensor([0, 1, 3, 4, 5])
    expected = predict(head, rois[others], *(x[others] for x in outputs))
    assert len(expected) > 0
    for field, values in given.items():
        assert torch.equal(values, expected[field]), field
