"""Measuring a run, by parts."""

import json

import numpy as np
import pytest
import torch
from conftest import KL_RPN_CONFIG, STUDY, write_tiny_config
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmdet_klrpn.benchmark.columns import AP_NAMES, PROPOSAL_NUMBERS
from mmdet_klrpn.benchmark.cost import complexity, read_logs
from mmdet_klrpn.benchmark.ground_truth import read_ground_truth
from mmdet_klrpn.benchmark.measure import measure, observe
from mmdet_klrpn.benchmark.plan import load_plan
from mmdet_klrpn.benchmark.results import load_results
from mmdet_klrpn.benchmark.runs import CONFIG, find_run, run_of
from mmdet_klrpn.benchmark.runs import PLAN as PLAN_FILE
from mmdet_klrpn.benchmark.stages import Stages
from mmdet_klrpn.benchmark.timings import time_detectors

KEYS = ('bboxes', 'scores', 'labels')
RPN_CONFIG = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'


def make_detector(config, **bbox_head):
    torch.manual_seed(0)
    config = Config.fromfile(config)
    config.model.roi_head.bbox_head.update(bbox_head)
    return init_detector(config, None, 'random', 'cpu')


def make_batches(count):
    generator = torch.Generator().manual_seed(0)
    batches = []
    for i in range(count):
        image = torch.randint(
            0, 256, (3, 128, 160), generator=generator, dtype=torch.uint8
        )
        sample = DetDataSample(
            metainfo=dict(
                img_id=i,
                img_shape=(128, 160),
                ori_shape=(256, 320),
                scale_factor=(0.5, 0.5),
            )
        )
        batches.append(dict(inputs=[image], data_samples=[sample]))
    return batches


@pytest.mark.parametrize(
    'config',
    [
        *(RPN_CONFIG, KL_RPN_CONFIG),
        STUDY / 'cascade-rpn_faster-rcnn_mobilenetv2_fpn_8e_stamps.py',
    ],
)
def test_the_best_of_many_proposals_are_those_of_fewer(config):
    stages = Stages(make_detector(config))
    with torch.no_grad():
        stages.load(make_batches(1)[0])
        most = stages.propose(1000)
        fewer = {number: stages.propose(number) for number in (10, 300)}
    assert len(most) > 400
    for number, found in fewer.items():
        assert torch.equal(found.scores, most.scores[:number])
    assert stages.number == 300


@pytest.mark.parametrize('config', [RPN_CONFIG, KL_RPN_CONFIG])
def test_detections_are_those_of_the_detector(config):
    model = make_detector(config)
    batches = make_batches(2)
    seen = observe(Stages(model), batches, [0, 1, 7])
    for batch, found in zip(batches, seen['']):
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        for key in KEYS:
            expected = sample.pred_instances[key].numpy()
            np.testing.assert_array_equal(found[key], expected)
    # Fewer proposals leave fewer detections, and an image not seen has none.
    counts = [len(image['scores']) for image in seen['@10']]
    assert counts[0] <= 20 < len(seen[''][0]['scores'])
    assert counts[2] == len(seen['proposals'][2]['scores']) == 0
    assert set(seen) - {'proposals'} == {
        '',
        *(f'@{n}' for n in PROPOSAL_NUMBERS),
    }


def test_detections_keep_their_stds():
    model = make_detector(KL_RPN_CONFIG, type='KLBBoxHead')
    (batch,) = make_batches(1)
    seen = observe(Stages(model), [batch], [0, 7])
    with torch.no_grad():
        (sample,) = model.test_step(batch)
    expected = sample.pred_instances.bbox_stds.numpy()
    np.testing.assert_array_equal(seen[''][0]['bbox_stds'], expected)
    assert len(expected) > 3
    assert 'bbox_stds' not in seen['proposals'][0]


def test_proposals_are_in_pixels_of_the_original_image():
    model = make_detector(KL_RPN_CONFIG)
    (batch,) = make_batches(1)
    (proposals,) = observe(Stages(model), [batch], [0])['proposals']
    assert 160 < proposals['bboxes'][:, 2].max() <= 320
    data = model.data_preprocessor(batch)
    model.rpn_head.test_cfg.max_per_img = 1000
    with torch.no_grad():
        (expected,) = model.rpn_head.predict(
            model.extract_feat(data['inputs']),
            data['data_samples'],
            rescale=True,
        )
    np.testing.assert_allclose(
        proposals['bboxes'], expected.bboxes.numpy(), rtol=1e-6, atol=1e-4
    )


def test_complexity():
    model = make_detector(RPN_CONFIG)
    batch = model.data_preprocessor(make_batches(1)[0])
    found = complexity(model, [batch, batch])
    parameters = sum(p.numel() for p in model.parameters())
    assert found['parameters'] == parameters
    # The first layer of the box head alone: 300 proposals of 7 x 7 x 64.
    assert found['flops'] > 300 * 7 * 7 * 64 * 256
    assert found['flops'] == complexity(model, [batch])['flops']


def test_logs_of_a_training(tmp_path):
    costs, training = read_logs(tmp_path)
    assert np.isnan(list(costs.values())).all()
    assert training == dict(processes=None, torch=None, device=None)
    for name, seconds in (('1', [9.0] * 2 + [1.0] * 18), ('2', [9.0, 3.0])):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [dict(loss=1, time=s, memory=100 + s) for s in seconds]
        lines.append({'coco/bbox_mAP': 0.1, 'time': 50})
        (folder / 'scalars.json').write_text(
            '\n'.join(json.dumps(line) for line in lines)
        )
    # 18 times 1.0 and once 3.0 are left.
    (tmp_path / '2' / '2.log').write_text('PyTorch: 2.1\nGPU number: 8\n')
    costs, training = read_logs(tmp_path)
    assert costs == dict(training_s=1.0, training_mb=109.0)
    assert training == dict(processes='8', torch='2.1', device=None)


def test_ground_truth_of_the_classes(tmp_path):
    path = tmp_path / 'truth.json'
    box = dict(image_id=1, bbox=[0, 0, 2, 2], area=4, iscrowd=0)
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=1, width=9, height=9, license=3)],
                categories=[dict(id=4, name='a'), dict(id=2, name='b')],
                annotations=[
                    dict(box, id=1, category_id=4, segmentation=[[0]]),
                    dict(box, id=2, category_id=2),
                ],
            )
        )
    )
    config = Config(dict(test_evaluator=dict(ann_file=str(path))))
    truth = read_ground_truth(config, ('a',))
    assert truth['categories'] == [dict(id=4, name='a')]
    assert truth['annotations'] == [dict(box, id=1, category_id=4)]
    assert truth['images'] == [dict(id=1, width=9, height=9)]
    with pytest.raises(ValueError, match=r"no category \['c'\]"):
        read_ground_truth(config, ('a', 'c'))
    with pytest.raises(ValueError, match='names no ann_file'):
        read_ground_truth(Config(dict(test_evaluator=dict())), ('a',))


def test_ground_truth_in_the_order_of_labels(tmp_path):
    """mmdet numbers labels as the file has them, not as the classes are."""
    path = tmp_path / 'truth.json'
    box = dict(image_id=1, bbox=[0, 0, 8, 4])
    names = 'abc'
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='1.png', width=9, height=9)],
                categories=[
                    dict(id=9 - i, name=n) for i, n in enumerate(names)
                ],
                annotations=[
                    dict(box, id=i, category_id=9 - i, area=32)
                    for i in range(3)
                ],
            )
        )
    )
    classes = ('c', 'a')
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
    )
    config = Config(dict(test_evaluator=dict(ann_file=str(path))))
    truth = read_ground_truth(config, classes)
    assert [c['id'] for c in truth['categories']] == dataset.cat_ids


@pytest.mark.parametrize(
    'form',
    [
        lambda metric: [dict(type='VOCMetric'), metric],
        lambda metric: dict(type='Evaluator', metrics=metric),
        lambda metric: dict(metrics=(dict(type='VOCMetric'), metric)),
    ],
)
def test_ground_truth_that_may_lack_what_is_optional(form, tmp_path):
    path = tmp_path / 'truth.json'
    box = dict(id=0, image_id=0, category_id=0, bbox=[0, 0, 8, 4])
    content = dict(images=[dict(id=0)], categories=[dict(id=0, name='a')])
    path.write_text(json.dumps(dict(content, annotations=[box])))
    config = Config(dict(test_evaluator=form(dict(ann_file=str(path)))))
    truth = read_ground_truth(config, ('a',))
    assert truth['annotations'] == [dict(box, area=32, iscrowd=0)]
    path.write_text(json.dumps(content))
    assert read_ground_truth(config, ('a',))['annotations'] == []


FINISHED = """
title: Squares
work_dir: {root}
seeds: 1
metric: AR@100
detectors:
  KL-RPN: {{config: c.py, checkpoint: {root}/weights.pth}}
  RPN alone: {{config: c.py, checkpoint: {root}/weights.pth}}
compare: [[RPN alone, KL-RPN]]
"""


def test_finished_checkpoints_with_and_without_a_second_stage(
    tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr('mmdet_klrpn.benchmark.timings.IMAGES', 2)
    monkeypatch.setattr('mmdet_klrpn.benchmark.measure._COST_IMAGES', 1)
    (tmp_path / PLAN_FILE).write_text(FINISHED.format(root=tmp_path))
    plan = load_plan(tmp_path / PLAN_FILE)
    config = write_tiny_config(tmp_path / 'c.py', tiny_data)
    weights = make_detector(config).state_dict()
    torch.save(weights, plan.detectors[0].checkpoint)
    for detector in plan.detectors:
        folder = run_of(tmp_path, detector, 0).folder
        folder.mkdir(parents=True)
        own = Config.fromfile(config)
        if detector.name == 'RPN alone':
            own.model.type = 'RPN'
            del own.model['roi_head']
        own.dump(folder / CONFIG)
        measure(*find_run(folder))
    time_detectors(plan, tmp_path)
    results = load_results(plan, [tmp_path], 20, 1)

    frame = results.frame.set_index(['detector', 'metric', 'at'])['value']
    one, two = frame['KL-RPN'], frame['RPN alone']
    np.testing.assert_array_equal(one['AR'], two['AR'])  # the same weights
    assert set(one.index) - set(two.index) >= {
        *((name, '') for name in AP_NAMES),
        *(('AP', f'@{n}') for n in PROPOSAL_NUMBERS),
        *(('second_stage_ms', f'@{n}') for n in PROPOSAL_NUMBERS),
        *(('precision50', '1.00'), ('FP', '0.5'), ('class AP', 'tree')),
    }
    assert set(two.index) < set(one.index)
    for name in ('ms', 'first_stage_ms', 'inference_mb', 'flops'):
        assert one[name, ''] > 0
        assert two[name, ''] > 0
    counts = results.frame.set_index('metric')['n']
    assert set(counts['AR']) == {14}  # objects
    assert set(counts['FP']) == {8}  # images
    # A checkpoint is one seed: there are intervals over images alone.
    rows = results.comparisons.set_index(['metric', 'at'])
    row = rows.loc[('AR', '@100')]
    assert row['difference'] == row['images_low'] == row['images_high'] == 0
    assert np.isnan(row['p'])


def test_guided_anchors_need_a_gpu():
    name = 'ga-faster-rcnn_mobilenetv2_fpn_8e_stamps.py'
    with pytest.raises(ValueError, match=r'GARPNHead .* not have on a CPU'):
        Stages(make_detector(STUDY / name))
