"""A plan of two detectors, from its data to a report."""

import json
import sys

import pytest
from conftest import STUDY, run, write_tiny_config
from processes import without_gpu

BENCHMARK = (sys.executable, 'tools/benchmark.py')
RPN = STUDY / 'faster-rcnn_mobilenetv2_fpn_24e_trees.py'


@pytest.fixture
def plan(tiny_data, tiny_config, tmp_path):
    rpn = write_tiny_config(tmp_path / 'rpn.py', tiny_data, RPN)
    path = tmp_path / 'plan.yaml'
    path.write_text(f"""
title: A toy
work_dir: {tmp_path / 'work'}
seeds: 1
detectors:
  RPN: {rpn}
  KL-RPN: {tiny_config}
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


@pytest.mark.slow
def test_a_plan_is_run_by_slurm_and_then_here(plan, slurm, tmp_path):
    command = (*BENCHMARK, 'run', plan, '--gpus', 2)
    slurm_options = ('--launcher', 'slurm', '--sbatch', 'cpus-per-task=1')
    text = run(*command, *slurm_options, env=slurm.env)
    assert 'timings: done' in text
    text = run(*command, '--seeds', 2, '--jobs', 1, env=without_gpu())
    assert 'RPN, seed 1, measuring: done' in text
    work = tmp_path / 'work'
    for seed in range(2):
        log = (work / f'kl-rpn/seed{seed}/benchmark.log').read_text()
        assert 'GPU number: 2' in log
        assert f'randomness = dict(seed={seed})' in log
        metrics = work / f'kl-rpn/seed{seed}/metrics.json'
        assert json.loads(metrics.read_text())['detector'] == 'KL-RPN'
    # All is there: nothing is trained, measured or timed again.
    text = run(*command)
    assert 'done' not in text
    run(*BENCHMARK, 'report', work, '--out', tmp_path / 'report')
    assert 'KL-RPN' in (tmp_path / 'report/report.md').read_text()
