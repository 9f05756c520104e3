"""Measuring a run: by parts, and end to end."""

import gzip
import json
import sys

import numpy as np
import pytest
import torch
from conftest import KL_RPN_CONFIG, STUDY, run, write_tiny_config
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmengine.config import Config

from mmdet_klrpn.benchmark.columns import PROPOSAL_NUMBERS
from mmdet_klrpn.benchmark.cost import complexity, training_cost
from mmdet_klrpn.benchmark.detection import pack_detections
from mmdet_klrpn.benchmark.ground_truth import read_ground_truth
from mmdet_klrpn.benchmark.measure import observe, own_number
from mmdet_klrpn.benchmark.runs import METRICS, Run

KEYS = ('bboxes', 'scores', 'labels')
RPN_CONFIG = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'


def make_detector(config):
    torch.manual_seed(0)
    config = Config.fromfile(config)
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


@pytest.mark.parametrize('config', [RPN_CONFIG, KL_RPN_CONFIG])
def test_the_best_of_many_proposals_are_those_of_fewer(config):
    model = make_detector(config)
    (batch,) = make_batches(1)
    data = model.data_preprocessor(batch)
    with torch.no_grad():
        features = model.extract_feat(data['inputs'])

    def propose(number):
        model.rpn_head.test_cfg.max_per_img = number
        with torch.no_grad():
            (found,) = model.rpn_head.predict(features, data['data_samples'])
        return found

    most = propose(1000)
    assert len(most) > 500
    values, counts = most.scores.unique(return_counts=True)
    # Those that tie have no order.
    single = torch.isin(most.scores, values[counts == 1])
    assert single.sum() > 400
    for number in PROPOSAL_NUMBERS:
        fewer, single_of = propose(number), single[:number]
        assert torch.equal(fewer.scores, most.scores[:number])
        assert torch.equal(
            fewer.bboxes[single_of], most.bboxes[:number][single_of]
        )


@pytest.mark.parametrize('config', [RPN_CONFIG, KL_RPN_CONFIG])
def test_detections_are_those_of_the_detector(config):
    model = make_detector(config)
    batches = make_batches(2)
    seen = observe(model, batches, [1])
    assert own_number(model) == 300
    expected = []
    for batch in batches:
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        instances = sample.pred_instances
        expected += pack_detections(
            sample.img_id,
            {key: instances[key].numpy() for key in KEYS},
            [1],
        )
    assert seen.detections[300] == expected
    # Fewer proposals leave fewer detections.
    assert len(seen.detections[10]) <= 20 < len(seen.detections[300])
    names = {f'second_stage@{number}' for number in PROPOSAL_NUMBERS}
    assert set(seen.seconds) == {*names, 'inference', 'first_stage'}
    assert all(len(seconds) == 2 for seconds in seen.seconds.values())


def test_proposals_are_in_pixels_of_the_original_image():
    model = make_detector(KL_RPN_CONFIG)
    (batch,) = make_batches(1)
    (proposals,) = observe(model, [batch], [1]).proposals
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


def test_training_cost(tmp_path):
    assert training_cost(tmp_path) == dict(
        train_s_per_iter=None, train_memory_mb=None
    )
    for name, seconds in (('1', [9.0] * 2 + [1.0] * 18), ('2', [9.0, 3.0])):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [dict(loss=1, time=s, memory=100 + s) for s in seconds]
        lines.append({'coco/bbox_mAP': 0.1, 'time': 50})
        (folder / 'scalars.json').write_text(
            '\n'.join(json.dumps(line) for line in lines)
        )
    # 18 times 1.0 and once 3.0 are left.
    found = training_cost(tmp_path)
    assert found == dict(train_s_per_iter=1.0, train_memory_mb=109.0)


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


PLAN = """
title: Squares
work_dir: {work_dir}
seeds: 1
pairs:
  - name: tiny
    baseline: {baseline}
    kl_rpn: {kl_rpn}
"""


@pytest.mark.slow
def test_run_and_report(tiny_data, tmp_path):
    configs = {
        'baseline': write_tiny_config(
            tmp_path / 'tiny_rpn.py', tiny_data, RPN_CONFIG
        ),
        'kl_rpn': write_tiny_config(tmp_path / 'tiny_kl-rpn.py', tiny_data),
    }
    for path in configs.values():
        path.write_text(path.read_text().replace('epochs=1', 'epochs=2'))
    plan = tmp_path / 'plan.yaml'
    plan.write_text(PLAN.format(work_dir=tmp_path / 'runs', **configs))
    tool = (sys.executable, 'tools/benchmark.py')
    run(*tool, 'run', plan, '--jobs', 2)
    ours = Run(tmp_path / 'runs/tiny_kl-rpn/seed0')
    first = json.loads((ours.folder / METRICS).read_text())
    check_against_validation(ours.folder, first)

    # Cut after the first epoch.
    (ours.folder / METRICS).unlink()
    (ours.folder / 'epoch_2.pth').unlink()
    (ours.folder / 'last_checkpoint').write_text(
        str(ours.folder / 'epoch_1.pth')
    )
    output = run(*tool, 'run', plan, '--jobs', 2)
    assert '1 jobs, 2 side by side' in output
    assert 'resumed epoch: 1' in (ours.folder / 'benchmark.log').read_text()
    second = json.loads((ours.folder / METRICS).read_text())
    check_against_validation(ours.folder, second)

    out = tmp_path / 'report'
    run(*tool, 'report', tmp_path / 'runs', '-o', out, '--resamples', 5)
    (pair,) = json.loads((out / 'results.json').read_text())
    own = str(second['num_proposals'])
    assert pair['values']['AP']['KL-RPN'] == [
        second['by_proposals'][own]['AP']
    ]
    assert pair['differences']['AP']['over_seeds'] is None
    assert '<svg' in (out / 'index.html').read_text()

    longer = configs['kl_rpn']
    longer.write_text(longer.read_text().replace('epochs=2', 'epochs=3'))
    output = run(*tool, 'run', plan, check=False)
    assert 'are no pair' in output
    assert 'train_cfg.max_epochs: 2 -> 3' in output
    assert 'Traceback' not in output


def check_against_validation(folder, metrics):
    """The last epoch's validation was of these images and weights."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    expected = json.loads(logs[-1].read_text().splitlines()[-1])
    found = metrics['by_proposals'][str(metrics['num_proposals'])]
    assert round(found['AP'], 3) == expected['coco/bbox_mAP']
    assert round(found['AP50'], 3) == expected['coco/bbox_mAP_50']
    detections = json.loads(
        gzip.decompress((folder / 'detections.json.gz').read_bytes())
    )
    assert detections
