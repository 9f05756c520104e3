"""Other ways to get stds of detections."""

import numpy as np
import pytest
import torch
from conftest import load_tool
from mmdet.structures.bbox import bbox_overlaps
from tiny_detectors import batch, tiny_detector

alternatives = load_tool('projects/kl_rpn_study/std_alternatives.py')


def stage(kind, **test_cfg):
    """A kind of errors of a tiny detector, without a config's data."""
    model = tiny_detector(roi_head='stds').eval()
    # Boxes that are their RoIs, so that each names its own.
    for name in ('weight', 'bias'):
        parameter = getattr(model.roi_head.bbox_head.fc_reg, name)
        torch.nn.init.zeros_(parameter)
    model.roi_head.test_cfg.update(test_cfg)
    own = object.__new__(kind)
    own.model, own.head = model, model.roi_head.bbox_head
    return own


def one_image():
    data = batch(images=1)
    data['data_samples'][0].set_metainfo(
        dict(ori_shape=(48, 256), scale_factor=(0.5, 2.0))
    )
    return data


def test_detections_keep_the_std_of_their_proposal():
    own = stage(alternatives.ProposalStds, max_per_img=20)
    found = own._predict(one_image())
    data = own.model.data_preprocessor(one_image())
    features = own.model.extract_feat(data['inputs'])
    with torch.no_grad():
        (proposals,) = own.model.rpn_head.predict(
            features, data['data_samples'], rescale=True
        )
    ious = bbox_overlaps(found.bboxes, proposals.bboxes)
    best, index = ious.max(dim=1)
    assert len(found) > 3
    assert best.min() > 0.999
    torch.testing.assert_close(found.bbox_stds, proposals.bbox_stds[index])


def test_views_of_an_image_find_the_same_boxes():
    """But for what a smaller or mirrored image changes: in its pixels."""
    own = stage(alternatives.SpreadStds)
    found = own._predict(one_image())
    (plain,) = own.model.test_step(one_image())
    torch.testing.assert_close(found.bboxes, plain.pred_instances.bboxes)
    assert (found.bbox_stds > 0).all()
    mirrored = own._view(one_image(), 1.0, True)
    assert mirrored.bboxes[:, 0::2].max() <= 256
    assert mirrored.bboxes[:, 0::2].min() >= 0


def test_spread_is_that_of_the_views_that_find_it():
    box = np.array([10.0, 10, 30, 20])
    seen = np.full((3, 2, 4), np.nan)
    shift = np.array([2, 0, 0, 0])
    seen[:, 0] = box, box + shift, box - shift
    seen[0, 1] = box + 100
    stds = alternatives.spread(seen)
    share = (2 / 20 + 0 + 0 + 0) / 4
    small = 0.01 * np.array([20, 10, 20, 10])
    np.testing.assert_allclose(stds[0], np.hypot([2, 0, 0, 0], small))
    lost = 2 * share * np.array([20, 10, 20, 10])
    np.testing.assert_allclose(stds[1], np.hypot(lost, small))


@pytest.mark.parametrize('views', [1, 3])
def test_what_no_other_view_finds_has_a_std(views):
    seen = np.full((views, 1, 4), np.nan)
    seen[0] = [0, 0, 10, 10]
    assert (alternatives.spread(seen) > 0).all()
