"""A plan of two detectors, from its data to a report."""

import json
import sys

import pandas as pd
import pytest
from conftest import STUDY, run, write_tiny_config
from processes import without_gpu

from mmdet_klrpn.benchmark.columns import PROPOSAL_NUMBERS

BENCHMARK = (sys.executable, 'tools/benchmark.py')
NAMES = {'rpn': 'RPN', 'kl-rpn': 'KL-RPN'}  # by folder
RPN = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'


@pytest.fixture
def plan(tiny_data, tmp_path):
    rpn = write_tiny_config(tmp_path / 'rpn.py', tiny_data, RPN)
    path = tmp_path / 'plan.yaml'
    path.write_text(f"""
title: A toy
work_dir: {tmp_path / 'work'}
seeds: 1
detectors:
  RPN: {rpn}
  KL-RPN:
    config: {rpn}
    cfg_options: {{model.rpn_head.type: KLRPNHead}}
compare: [[RPN, KL-RPN]]
""")
    return path


def test_nothing_is_touched_by_a_dry_run(plan, tmp_path):
    options = '--launcher slurm --gpus 2 --qos q --sbatch exclusive mem=9G'
    text = run(*BENCHMARK, 'run', plan, '--dry-run', *options.split())
    assert (
        'KL-RPN, seed 0: training: sbatch --nodes=1 --ntasks-per-node=2 '
        '--cpus-per-task=4 --requeue --qos=q --exclusive --mem=9G --gres=gpu:2'
    ) in text
    assert 'RPN, seed 0, measuring: measuring: sbatch --nodes=1' in text
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ('--gpus 0', 'argument --gpus: must be at least 1, but is 0'),
        ('--qos q', '--qos needs --launcher slurm'),
        ('--launcher slurm --gpus 9', '--gpus 9 cannot be spread evenly'),
    ],
)
def test_options_that_do_not_fit(plan, options, message):
    command = (*BENCHMARK, 'run', plan, *options.split())
    assert message in run(*command, check=False)


def test_nothing_is_measured_yet(plan, tmp_path):
    work = tmp_path / 'work'
    command = (*BENCHMARK, 'report', work)
    for options, message in (
        ((), f'no plan.yaml in {work}, so nothing is measured there yet'),
        (('--plan', plan), 'nothing is measured: run the plan first'),
    ):
        last = run(*command, *options, check=False).splitlines()[-1]
        assert last.startswith(f'benchmark.py: {message}')


@pytest.mark.slow
def test_a_plan_is_run_by_slurm_and_then_here(plan, slurm, tmp_path):
    command = (*BENCHMARK, 'run', plan, '--gpus', 2)
    slurm_options = ('--launcher', 'slurm', '--partition', 'tests')
    slurm_options += ('--sbatch', 'cpus-per-task=1')
    text = run(*command, *slurm_options, env=slurm.env)
    assert 'KL-RPN, seed 0, measuring: done' in text
    assert 'timings: done' in text
    text = run(*command, '--seeds', 2, '--jobs', 1, env=without_gpu())
    assert 'RPN, seed 1, measuring: done' in text
    work = tmp_path / 'work'
    for folder in [work / f'{x}/seed{i}' for x in NAMES for i in range(2)]:
        log = (folder / 'benchmark.log').read_text()
        assert 'GPU number: 2' in log
        assert f'randomness = dict(seed={folder.name[-1]})' in log
        metrics = json.loads((folder / 'metrics.json').read_text())
        assert NAMES[folder.parent.name] == metrics['detector']
        assert metrics['training']['processes'] == '2'
        check_against_validation(folder, metrics)
    # All is there: nothing is trained, measured or timed again.
    assert 'done' not in run(*command)
    assert 'done' not in run(*command, *slurm_options, env=slurm.env)
    check_report(work, tmp_path / 'report')

    config = tmp_path / 'rpn.py'
    config.write_text(config.read_text().replace('epochs=1', 'epochs=2'))
    text = run(*command, *slurm_options, env=slurm.env, check=False)
    assert 'was started with another config' in text
    assert 'Traceback' not in text


def check_against_validation(folder, metrics):
    """The last epoch's validation was of these images and weights."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    expected = json.loads(logs[-1].read_text().splitlines()[-1])
    found = {(m, at): value for m, at, value, _ in metrics['rows']}
    assert round(found['AP', ''], 3) == expected['coco/bbox_mAP']
    assert round(found['AP50', ''], 3) == expected['coco/bbox_mAP_50']


def check_report(work, out):
    """A report has the values of both detectors and seeds."""
    run(*BENCHMARK, 'report', work, '--out', out, '--resamples', 20)
    frame = pd.read_csv(out / 'results.csv', keep_default_na=False)
    assert set(frame['detector']) == {'RPN', 'KL-RPN'}
    assert set(frame['seed']) == {0, 1}
    times = frame[frame['metric'] == 'second_stage_ms']
    assert len(times) == 2 * len(PROPOSAL_NUMBERS)
    assert (out / 'index.html').read_text().count('<svg') > 5
    assert 'KL-RPN' in (out / 'report.md').read_text()
