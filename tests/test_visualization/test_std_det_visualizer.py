"""Bands of one standard deviation in mmdet's pictures of detections."""

import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from mmdet_klrpn.visualization import StdDetLocalVisualizer

IMAGE = np.full((120, 160, 3), 90, dtype=np.uint8)


def picture(cls, stds):
    visualizer = cls(line_width=1)
    visualizer.dataset_meta = dict(
        classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)]
    )
    found = InstanceData(
        bboxes=torch.tensor([[40.0, 40, 120, 100]]),
        scores=torch.tensor([0.9]),
        labels=torch.tensor([1]),
    )
    if stds is not None:
        found.bbox_stds = torch.tensor([stds])
    sample = DetDataSample(pred_instances=found)
    visualizer.add_datasample('one', IMAGE, sample, draw_gt=False)
    return visualizer.get_image().astype(int)


def test_a_band_lies_around_the_edges():
    plain = picture(StdDetLocalVisualizer, None)
    drawn = picture(StdDetLocalVisualizer, [6.0, 3.0, 6.0, 3.0])
    changed = (plain != drawn).any(axis=2)
    # Left edge at x = 40 with std 6, far from the text; lower edge at 100.
    assert changed[[70, 70, 98], [36, 44, 90]].all()
    assert not changed[[70, 70, 95, 110], [32, 50, 90, 90]].any()
    # Of the class's colour, see-through.
    assert drawn[70, 36, 2] > 120 > 90 > drawn[70, 36, 0] > 0
    # The box itself is as it was.
    np.testing.assert_allclose(drawn[70, 40], plain[70, 40], atol=60)


def test_without_stds_it_is_the_parent():
    np.testing.assert_array_equal(
        picture(StdDetLocalVisualizer, None), picture(DetLocalVisualizer, None)
    )


def test_it_is_registered():
    assert VISUALIZERS.get('StdDetLocalVisualizer') is StdDetLocalVisualizer
