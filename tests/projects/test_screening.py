"""Heads trained alone: once, the same again, and only what is missing."""

import os
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run, write_tiny_config
from mmengine.config import Config
from screening.features import extract, load_features
from screening.plan import load_screening
from screening.pool import work
from screening.report import (
    question_table,
    read_results,
    show_difference,
    write_report,
)
from screening.study import cells_of, change, extractions, trainings
from screening.training import train_head
from study import STUDY, study_config
from torch.nn.utils import parameters_to_vector

PLAN = """
title: Squares
note: Bright ones.
work_dir: {work_dir}
seeds: 2
split: {split}
reference: KL
features: {{tiny: {{config: {config}}}}}
questions:
  Head:
    reason: It is the better one.
    rows:
      KL: {{rpn_head.type: KLRPNHead}}
      RPN: {{rpn_head.type: RPNHead}}
  NMS:
    rows:
      '0.7': {{rpn_head.type: KLRPNHead, test_cfg.nms.iou_threshold: 0.7}}
      '0.5': {{rpn_head.type: KLRPNHead, test_cfg.nms.iou_threshold: 0.5}}
"""


@pytest.fixture(scope='module')
def config(tiny_data, tmp_path_factory):
    """A config of the small data set, in batches of 4, for 2 epochs."""
    path = tmp_path_factory.mktemp('screening') / 'tiny.py'
    base = study_config('faster-rcnn_mobilenetv2_24e_trees.py')
    text = write_tiny_config(path, tiny_data, base).read_text()
    text = text.replace('epochs=1', 'epochs=2')
    path.write_text(text.replace('dict(dataset', 'dict(batch_size=4, dataset'))
    return path


@pytest.fixture(scope='module')
def screening(config):
    """A plan, its rows and its features."""
    path = config.parent / 'plan.yaml'
    text = PLAN.format(work_dir=config.parent, split='test', config=config)
    path.write_text(text)
    plan = load_screening(path)
    cells = cells_of(plan)
    (call,) = extractions(cells).values()
    call()
    return plan, cells


@pytest.fixture
def features(screening):
    yield load_features(screening[1][0].file)
    load_features.cache_clear()  # a test may have changed them


def test_features(features):
    # 7 images with objects, 4 in a batch, in 2 epochs
    assert (len(features['train']), features['epochs']) == (4, 2)
    assert len(features['truth']['annotations']) == 14
    level = features['train'][0]['inputs'][0]
    assert level.shape == (4, 96, 22, 22)
    assert level.dtype == torch.float16
    # Augmented anew.
    assert not torch.equal(level, features['train'][2]['inputs'][0])
    samples = [s for batch in features['train'] for s in batch['data_samples']]
    assert not any(s.gt_instances.labels.any() for s in samples)


def test_features_are_the_same_again(config, features, tmp_path):
    extract(Config.fromfile(config), None, tmp_path / 'again.pth')
    again = load_features(tmp_path / 'again.pth')
    for part in ('train', 'test'):
        for one, two in zip(features[part], again[part]):
            assert torch.equal(one['inputs'][0], two['inputs'][0])


def test_a_seed_says_everything(config, features):
    cfg = change(Config.fromfile(config), {'rpn_head.type': 'KLRPNHead'})
    first, again, other = (
        parameters_to_vector(train_head(features, cfg, seed).parameters())
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_schedule_is_the_configs(config, features, monkeypatch):
    cfg = change(Config.fromfile(config), {'lr': 0.01})
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=2),
        dict(type='MultiStepLR', milestones=[1], gamma=0.1),
    ]
    seen, real = [], torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append(self.param_groups[0]['lr'])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    train_head(features, cfg, 0)
    # 2 epochs of 2 steps.
    np.testing.assert_allclose(seen, [0.005, 0.01, 0.001, 0.001])


def test_a_loss_that_is_not_finite_is_refused(config, features):
    features['train'][0]['inputs'][0][:] = float('nan')
    with pytest.raises(FloatingPointError, match='loss is nan at step'):
        train_head(features, Config.fromfile(config), 0)


def test_only_what_is_missing_is_trained(screening):
    plan, cells = screening
    assert not extractions(cells)
    calls = trainings(cells, 2)
    # KL with both NMS, and RPN; of two seeds
    assert len(calls) == 4
    assert list(calls)[:2] == [
        *('tiny: Head: KL, seed 0', 'tiny: Head: RPN, seed 0')
    ]
    folders = {cell.row: cell.folder for cell in cells}
    assert folders['KL'] == folders['0.7'] != folders['0.5']

    calls['tiny: Head: KL, seed 0']()
    results = [folders[row] / 'seed0.json' for row in ('KL', '0.5')]
    first, nms = (file.read_text() for file in results)
    assert first != nms
    assert len(trainings(cells, 2)) == 3
    # After a kill, the same again, and no more than that.
    results[0].unlink()
    trainings(cells, 1)['tiny: Head: KL, seed 0']()
    assert results[0].read_text() == first
    assert results[1].read_text() == nms

    frame, environments = read_results(plan, cells)
    assert set(frame['row']) == {'KL', '0.7', '0.5'}
    assert frame['n'].max() == 14
    assert environments.shape[1] == 1


def test_validation_images_have_features_of_their_own(screening, tmp_path):
    _, cells = screening
    config = tmp_path / 'val.py'
    config.write_text(
        f"_base_ = '{cells[0].config.filename}'\n"
        'val_dataloader = dict(dataset=dict(indices=3))\n'
    )
    files = []
    for split in ('test', 'val'):
        path = tmp_path / 'plan.yaml'
        text = PLAN.format(work_dir=tmp_path, split=split, config=config)
        path.write_text(text)
        found = cells_of(load_screening(path))
        files.append(found[0].file)
    assert files[0].name == cells[0].file.name != files[1].name
    extractions(found)['tiny']()
    (batch,) = load_features(files[1])['test']
    assert len(batch['data_samples']) == 3


def test_tables(screening, tmp_path):
    plan, cells = screening
    values = {'KL': [0.2, 0.3, 0.4], 'RPN': [0.25, 0.36]}
    frame = pd.DataFrame(
        [
            ('tiny', 'Head', row, seed, metric, group, value * scale, 14)
            for row, own in values.items()
            for seed, value in enumerate(own)
            for metric in ('AR@10', 'AR@100')
            for group, scale in (('all', 1), ('Q1', 0.5))
        ],
        columns=[
            *('features', 'question', 'row', 'seed'),
            *('metric', 'group', 'value', 'n'),
        ],
    )
    table = question_table(frame, cells[:2], 3)
    assert list(table) == ['AR@10', 'AR@100', 'smallest quarter']
    assert table.loc['KL (reference)'].tolist() == ['30.0', '30.0', '15.0']
    shown = show_difference([20, 30, 40], [25, 36])
    assert table.loc['RPN (2 of 3 seeds)', 'AR@100'] == f'30.5 ({shown})'
    # Rows of the same settings, and one without any result.
    both = frame.assign(question='NMS').replace('RPN', '0.7')
    table = question_table(both, cells[2:], 3)
    assert table.index[1:].tolist() == [
        *('0.7 (the same) (2 of 3 seeds)', '0.5 (0 of 3 seeds)')
    ]
    assert table.iloc[2, 0] == '\N{EN DASH}'
    empty = [cell._replace(folder=tmp_path) for cell in cells]
    with pytest.raises(FileNotFoundError, match='run the plan first'):
        write_report(plan, empty, tmp_path)


@pytest.mark.slow
def test_run_and_report(config, tmp_path):
    plan = tmp_path / 'plan.yaml'
    text = PLAN.format(work_dir=tmp_path / 'runs', split='test', config=config)
    row = '      RPN: {rpn_head.type: RPNHead}\n'
    # It fits the config, but not the features.
    broken = row.replace('RPN: {', 'wrong: {rpn_head.in_channels: 8, ')
    plan.write_text(text.replace(row, row + broken))
    tool = sys.executable, STUDY / 'screening.py'
    output = run(*tool, 'run', plan, '--jobs', 1, check=False)
    assert 'failed: tiny: Head: wrong, seed 1' in output
    assert 'failed: tiny: Head: KL' not in output
    # What is finished is not trained again.
    plan.write_text(text)
    files = sorted((tmp_path / 'runs').rglob('seed*.json'))
    assert len(files) == 6
    before = [file.stat().st_mtime_ns for file in files]
    run(*tool, 'run', plan)
    assert [file.stat().st_mtime_ns for file in files] == before
    run(*tool, 'report', plan, '-o', tmp_path)
    page = (tmp_path / 'screening.md').read_text()
    assert page.startswith('# Squares\n\nBright ones.\n\nHeads trained alone')
    assert '## Head\n\n### tiny\n' in page
    assert '| 0.7 (the same) |' in page
    assert '| threads | 1 |' in page
    frame = pd.read_csv(tmp_path / 'screening.csv')
    assert set(frame['seed']) == {0, 1}


@pytest.mark.slow
def test_a_killed_process_is_said():
    with pytest.raises(RuntimeError, match='terminated abruptly'):
        work(dict(killed=partial(os._exit, 9), next=print), 1, 'calls')
