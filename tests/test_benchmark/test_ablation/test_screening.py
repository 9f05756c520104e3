"""Heads trained alone: once, the same again, and only what is missing."""

import json
import os
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import STUDY, run, write_tiny_config
from mmengine.config import Config
from torch.nn.utils import parameters_to_vector

from mmdet_klrpn.benchmark.ablation.features import (
    extract,
    features_key,
    load_features,
)
from mmdet_klrpn.benchmark.ablation.plan import (
    FeatureSet,
    Row,
    load_ablation,
)
from mmdet_klrpn.benchmark.ablation.pool import Task, work
from mmdet_klrpn.benchmark.ablation.settings import resolve
from mmdet_klrpn.benchmark.ablation.study import (
    extractions,
    features_file,
    result_file,
    study,
    trainings,
)
from mmdet_klrpn.benchmark.ablation.training import train_head

BASE = STUDY / 'faster-rcnn_mobilenetv2_24e_trees.py'
PLAN = """
title: Squares
work_dir: {work_dir}
seeds: 2
reference: KL
features: [{{name: tiny, config: {config}}}]
questions:
  - question: Head
    rows:
      - {{name: KL, rpn_head: {{type: KLRPNHead}}}}
      - {{name: RPN, rpn_head: {{type: RPNHead}}}}
  - question: Divergence
    rows:
      - name: weight 1
        rpn_head:
          type: KLRPNHead
          loss_kl: {{type: KLDivLoss, loss_weight: 1}}
      - name: NMS
        rpn_head: {{type: KLRPNHead}}
        test_cfg: {{nms.iou_threshold: 0.5}}
"""


@pytest.fixture(scope='module')
def tiny(tiny_data, tmp_path_factory):
    """Features of the small data set, and where they are."""
    folder = tmp_path_factory.mktemp('ablation')
    config = write_tiny_config(folder / 'tiny.py', tiny_data, BASE)
    text = config.read_text()
    text = text.replace('epochs=1', 'epochs=2')
    text = text.replace('dict(dataset', 'dict(batch_size=4, dataset')
    config.write_text(text)
    features = FeatureSet('tiny', config)
    path = features_file(folder, features_key(features))
    extract(features, path)
    return features, path


def test_features(tiny):
    _, path = tiny
    found = load_features(path)
    described = json.loads(path.with_suffix('.json').read_text())
    # 7 images with objects, of 4 a batch, in 2 epochs
    assert (len(found.train), found.epochs) == (4, 2)
    assert described['steps'] == 4
    assert (described['test_images'], described['test_objects']) == (8, 14)
    assert described['levels'] == [[96, 22, 22]]
    level = found.train[0].inputs[0]
    assert level.shape[:2] == (4, 96)
    assert level.dtype == torch.float16
    # Augmented anew.
    assert not torch.equal(level, found.train[2].inputs[0])
    samples = [s for batch in found.train for s in batch.data_samples]
    assert not any(s.gt_instances.labels.any() for s in samples)


def test_features_are_the_same_again(tiny, tmp_path):
    features, path = tiny
    extract(features, tmp_path / 'again.pth')
    first, second = map(load_features, (path, tmp_path / 'again.pth'))
    for one, two in zip(first.train + first.test, second.train + second.test):
        assert torch.equal(one.inputs[0], two.inputs[0])


def test_a_neck_without_weights_is_refused(tiny_data, tmp_path):
    config = write_tiny_config(tmp_path / 'fpn.py', tiny_data)
    with pytest.raises(ValueError, match='give the checkpoint'):
        extract(FeatureSet('f', config), tmp_path / 'f.pth')


def test_a_seed_says_everything(tiny):
    features, path = tiny
    found = load_features(path)
    config = Config.fromfile(features.config)
    settings = resolve(config, Row('r', {'type': 'KLRPNHead'}))
    first, again, other = (
        parameters_to_vector(train_head(found, settings, seed).parameters())
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_schedule_is_the_configs(tiny, monkeypatch):
    features, path = tiny
    found = load_features(path)
    config = Config.fromfile(features.config)
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=2),
        dict(type='MultiStepLR', milestones=[1], gamma=0.1),
    ]
    seen = []
    real = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append(self.param_groups[0]['lr'])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    train_head(found, resolve(config, Row('r', lr=0.01)), 0)
    # 2 epochs of 2 steps.
    np.testing.assert_allclose(seen, [0.005, 0.01, 0.001, 0.001])


def test_a_loss_that_is_not_finite_is_refused(tiny):
    features, path = tiny
    found = load_features(path)
    found.train[0].inputs[0][:] = float('nan')
    config = Config.fromfile(features.config)
    with pytest.raises(FloatingPointError, match='loss is nan at step'):
        train_head(found, resolve(config, Row('r')), 0)


def test_the_same_is_trained_once_and_what_is_missing_again(tiny):
    features, path = tiny
    work_dir = path.parent.parent
    plan_file = work_dir / 'plan.yaml'
    plan_file.write_text(
        PLAN.format(work_dir=work_dir, config=features.config)
    )
    found = study(load_ablation(plan_file), work_dir)
    tasks = trainings(found, 2)
    # KL with both NMS, and RPN; of two seeds
    assert len(tasks) == 4
    assert not extractions(found, tasks)
    names = [task.name for task in tasks]
    assert names[:2] == ['tiny: Head: KL, seed 0', 'tiny: Head: RPN, seed 0']
    by_row = {cell.row: cell.key for cell in found.cells}
    assert by_row['weight 1'] == by_row['KL'] != by_row['NMS']

    tasks[0].call()
    results = [result_file(work_dir, by_row[row], 0) for row in ('KL', 'NMS')]
    assert all(file.is_file() for file in results)
    assert len(trainings(found, 2)) == 3
    first, nms = (json.loads(file.read_text()) for file in results)
    assert first['figures'] != nms['figures']
    assert 0 < first['figures']['AR@300']['all'] <= 1

    results[0].unlink()
    again = trainings(found, 1)[0]
    again.call()
    assert json.loads(results[0].read_text())['figures'] == first['figures']
    path.rename(path.with_suffix('.moved'))
    assert len(extractions(found, trainings(found, 2))) == 1
    path.with_suffix('.moved').rename(path)


@pytest.mark.slow
def test_run_and_report(tiny, tmp_path):
    features, _ = tiny
    plan = tmp_path / 'plan.yaml'
    text = PLAN.format(work_dir=tmp_path / 'runs', config=features.config)
    # It fits the config, but not the features.
    broken = '      - {name: RPN, rpn_head: {type: RPNHead}}\n'
    assert broken in text
    plan.write_text(
        text.replace(
            broken,
            broken
            + broken.replace(
                'RPN, rpn_head: {', 'broken, rpn_head: {in_channels: 8, '
            ),
        )
    )
    tool = (sys.executable, 'tools/ablation.py')
    output = run(*tool, 'run', plan, '--jobs', 1, check=False)
    assert '6 trainings, 1 side by side' in output
    assert 'failed: tiny: Head: broken, seed 1' in output
    with pytest.raises(AssertionError):
        run(*tool, 'run', plan, '--jobs', 1)

    plan.write_text(text)
    assert '0 trainings' in run(*tool, 'run', plan)
    out = tmp_path / 'report'
    run(*tool, 'report', tmp_path / 'runs', '-o', out)
    assert '| weight 1 (the same) |' in (out / 'screening.md').read_text()
    found = json.loads((out / 'screening.json').read_text())
    rows = found['questions'][0]['comparisons'][0]['rows']
    assert [row['name'] for row in rows] == ['KL', 'RPN']
    assert rows[1]['seeds'] == [0, 1]


@pytest.mark.slow
def test_a_killed_process_is_said():
    tasks = [Task('killed', partial(os._exit, 9)), Task('next', print)]
    with pytest.raises(RuntimeError, match='a process was killed'):
        work(tasks, 1)
