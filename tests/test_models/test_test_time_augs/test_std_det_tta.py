"""Stds of detections through mmdet's merging of views."""

import torch
from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from tiny_detectors import batch, tiny_detector

from mmdet_klrpn.models import StdDetTTAModel

CFG = ConfigDict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=3)


class Module(BaseModel):
    """What is not asked."""

    def forward(self):
        raise NotImplementedError


def view(boxes, flip, stds=True):
    """A view's detections; the std of a box is its number of the view."""
    meta = dict(ori_shape=(50, 100), flip=flip, flip_direction='horizontal')
    sample = DetDataSample(metainfo=meta)
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 5)
    found = InstanceData(bboxes=boxes[:, :4], scores=boxes[:, 4])
    found.labels = torch.zeros(len(boxes), dtype=torch.long)
    if stds:
        numbers = torch.arange(len(boxes)) + (10 if flip else 1)
        found.bbox_stds = numbers[:, None].expand(-1, 4).float()
    sample.pred_instances = found
    return sample


def views(stds=True):
    """The first box of either view is the same object's."""
    return [
        view([(10, 5, 30, 25, 0.6), (60, 5, 80, 25, 0.3)], False, stds),
        view([(71, 5, 91, 25, 0.9), (10, 30, 30, 45, 0.5)], True, stds),
    ]


def test_each_detection_keeps_its_own():
    model = StdDetTTAModel(tta_cfg=CFG, module=Module())
    (merged,) = model.merge_preds([views()])
    found = merged.pred_instances
    assert found.bboxes[:, 0].tolist() == [9, 70, 60]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.5, 0.3]))
    assert found.bbox_stds.tolist() == [[10.0] * 4, [11.0] * 4, [2.0] * 4]


def test_otherwise_it_is_the_parent():
    ours = StdDetTTAModel(tta_cfg=CFG, module=Module())
    plain = DetTTAModel(tta_cfg=CFG, module=Module())
    for stds in (True, False):
        (found,) = ours.merge_preds([views(stds)])
        (expected,) = plain.merge_preds([views(stds)])
        found, expected = found.pred_instances, expected.pred_instances
        assert ('bbox_stds' in found) == stds
        for field, value in expected.items():
            assert torch.equal(found[field], value), field


def test_nothing_is_found():
    model = StdDetTTAModel(tta_cfg=CFG, module=Module())
    (merged,) = model.merge_preds([[view([], False), view([], True)]])
    assert merged.pred_instances.bbox_stds.shape == (0, 4)


def test_a_detector_with_stds():
    detector = tiny_detector(roi_head='stds')
    cfg = ConfigDict(CFG, max_per_img=100)
    model = StdDetTTAModel(tta_cfg=cfg, module=detector).eval()
    data = batch(images=1)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(flip=False, flip_direction=None))
    data = {key: [value] * 2 for key, value in data.items()}
    with torch.no_grad():
        (merged,) = model.test_step(data)
        (alone,) = detector.test_step(batch(images=1))
    merged, alone = merged.pred_instances, alone.pred_instances
    assert len(merged) > 3
    torch.testing.assert_close(merged.bbox_stds, alone.bbox_stds)
