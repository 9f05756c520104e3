"""The first stage of detectors, and where its maps lie."""

import pytest
import torch
from conftest import KL_RPN_CONFIG, STUDY
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import FirstStage, propose, rpn_head

RPN_CONFIG = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'


def build(config, **options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    torch.manual_seed(0)
    return MODELS.build(cfg.model).eval()


def batch_of(*shapes, scale=(2.0, 0.5)):
    """Images of (height, width), input scaled by so much in x and in y."""
    samples = [
        DetDataSample(
            metainfo=dict(
                img_shape=shape,
                ori_shape=(int(shape[0] / scale[1]), int(shape[1] / scale[0])),
                scale_factor=scale,
            )
        )
        for shape in shapes
    ]
    inputs = [
        torch.randint(0, 255, (3, *shape), dtype=torch.uint8)
        for shape in shapes
    ]
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize('rpn_alone', [False, True])
def test_proposes_as_the_detector_does(rpn_alone):
    options = {'model.type': 'RPN'} if rpn_alone else {}
    model = build(KL_RPN_CONFIG, **options)
    assert hasattr(model, 'bbox_head') == rpn_alone
    batch = batch_of((64, 96), (96, 96))
    stages = propose(model, batch)
    assert len(stages) == 2
    assert all(stage.head is rpn_head(model) for stage in stages)
    assert [level.shape[-2:] for level in stages[0].log_vars] == [
        (12, 12),
        (6, 6),
        (3, 3),
    ]  # of the padded batch
    assert all(level.shape[0] == 1 for level in stages[1].log_vars)
    for stage in stages:
        assert (stage.proposals.scores.diff() <= 0).all()
        assert stage.proposals.bbox_stds.shape == stage.proposals.bboxes.shape
    # In pixels of the originals: 48 x 128 and 48 x 192.
    for stage, height in zip(stages, (128, 192)):
        corner = stage.proposals.bboxes.amax(dim=0)[2:]
        assert (corner <= torch.tensor([48.0, height]) + 1e-3).all()
    if rpn_alone:
        results = model.test_step(batch_of((64, 96), (96, 96)))
        assert len(results[0].pred_instances) == len(stages[0].proposals)


def test_another_head_has_no_map():
    (stage,) = propose(build(RPN_CONFIG), batch_of((64, 64)))
    assert stage.log_vars == []
    assert stage.extents() == []
    assert 'bbox_stds' not in stage.proposals


def test_a_detector_without_rpn_is_refused():
    with pytest.raises(ValueError, match='a Linear proposes no regions'):
        rpn_head(nn.Linear(1, 1))


@pytest.mark.parametrize('centre', [0.0, 0.5])
def test_cells_surround_their_anchors(centre):
    model = build(
        KL_RPN_CONFIG,
        **{'model.rpn_head.anchor_generator.center_offset': centre},
    )
    log_vars = [torch.zeros(1, 24, 3, 5), torch.zeros(1, 24, 2, 3)]
    stage = FirstStage(model.rpn_head, None, log_vars, (2.0, 0.5))
    generator = model.rpn_head.prior_generator
    for level, (left, right, bottom, top) in enumerate(stage.extents()):
        height, width = log_vars[level].shape[-2:]
        anchors = generator.single_level_grid_priors(
            (height, width), level, device='cpu'
        )
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        centres = centres.view(height, width, -1, 2)[:, :, 0]
        centres = centres / torch.tensor([2.0, 0.5])
        cell = ((right - left) / width, (bottom - top) / height)
        for row in range(height):
            for column in range(width):
                expected = (
                    left + (column + 0.5) * cell[0],
                    top + (row + 0.5) * cell[1],
                )
                assert centres[row, column].tolist() == pytest.approx(expected)
