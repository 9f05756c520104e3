"""What is started where, what is left alone, and what is said of it."""

import sys
import time

import pytest
import torch

from mmdet_klrpn.benchmark import launch as launch_module
from mmdet_klrpn.benchmark.fields import Preparation
from mmdet_klrpn.benchmark.jobs import Crew, Job, find_jobs, prepare
from mmdet_klrpn.benchmark.launch import Command, Launch
from mmdet_klrpn.benchmark.plan import Pair, Plan
from mmdet_klrpn.benchmark.progress import (
    format_time,
    read_progress,
    seconds_left,
)
from mmdet_klrpn.benchmark.runs import METRICS, Run, hold

CONFIG = """
train_cfg = dict(max_epochs=2)
randomness = dict(seed={seed})
model = dict(rpn_head=dict(type='{name}'))
"""


@pytest.fixture
def plan(tmp_path):
    paths = [tmp_path / f'{name}.py' for name in 'ab']
    for path in paths:
        path.write_text(CONFIG.format(seed=0, name=path.stem))
    return Plan('t', tmp_path / 'runs', 2, (Pair('n', *paths),))


def start_training(plan, config, seed, epoch, trained_config=None):
    """A run that has come to an epoch of two."""
    folder = plan.work_dir / config / f'seed{seed}'
    folder.mkdir(parents=True)
    text = trained_config or CONFIG.format(seed=seed, name=config)
    (folder / f'{config}.py').write_text(text)
    (folder / f'epoch_{epoch}.pth').touch()
    # As after the folder was moved from another machine.
    (folder / 'last_checkpoint').write_text(f'/elsewhere/epoch_{epoch}.pth')
    return folder


def test_only_what_is_missing_is_run(plan):
    (start_training(plan, 'a', 0, 2) / METRICS).touch()
    start_training(plan, 'b', 0, 2)
    start_training(plan, 'a', 1, 1)
    jobs = find_jobs(plan, plan.work_dir, 2)
    assert [(job.run.name, job.training) for job in jobs] == [
        ('b seed 0', False),
        ('a seed 1', True),
        ('b seed 1', True),
    ]


def test_a_run_of_another_config_is_refused(plan):
    text = CONFIG.format(seed=0, name='other')
    start_training(plan, 'a', 0, 2, text)
    with pytest.raises(ValueError, match="type: 'other' -> 'a'"):
        find_jobs(plan, plan.work_dir, 1)


def test_commands_of_each_launcher(plan, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3,5,7')
    monkeypatch.setattr(launch_module.os, 'cpu_count', lambda: 8)
    job = find_jobs(plan, plan.work_dir, 1)[0]

    one = Launch()
    slots = one.slots(None, 9)
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in slots] == list('2357')
    assert {slot['OMP_NUM_THREADS'] for slot in slots} == {'2'}
    train, measure = job.commands(one, slots[1])
    assert train.words[:2] == [
        sys.executable,
        str(launch_module.TOOLS / 'train.py'),
    ]
    assert train.words[-4:] == [
        *(str(job.run.folder), '--resume', '--cfg-options'),
        'randomness.seed=0',
    ]
    assert measure.words[1:] == [
        *(str(launch_module.TOOLS / 'benchmark.py'), 'measure'),
        str(job.run.folder),
    ]

    two = Launch('pytorch', 2)
    slots = two.slots(None, 9)
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in slots] == ['2,3', '5,7']
    train, measure = job.commands(two, slots[1])
    assert train.words[0].endswith('tools/dist_train.sh')
    assert train.words[2] == '2'
    assert measure.env['CUDA_VISIBLE_DEVICES'] == '5'
    assert str(train).startswith('OMP_NUM_THREADS=2 CUDA_VISIBLE_DEVICES=5,7')

    slurm = Launch('slurm', 16, 'part')
    assert len(slurm.slots(None, 9)) == 9
    train, measure = job.commands(slurm, {})
    assert train.env == {'GPUS': '16', 'GPUS_PER_NODE': '8'}
    assert train.words[1:3] == ['part', 'a-0']
    assert measure.words[:4] == ['srun', '-p', 'part', '--gres=gpu:1']


def test_without_a_gpu_jobs_share_the_cores(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    monkeypatch.setattr(launch_module.os, 'cpu_count', lambda: 8)
    assert Launch().slots(2, 9) == [{'OMP_NUM_THREADS': '4'}] * 2
    assert len(Launch('pytorch', 4).slots(None, 9)) == 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('none', 2), 'needs --launcher pytorch'),
        (('pytorch', 0), 'at least 1'),
        (('slurm', 8), 'needs --partition'),
        (('mpi',), 'must be one of none, pytorch, slurm'),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        Launch(*options).check()


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,1')
    with pytest.raises(ValueError, match=r'--gpus 4, but 2 are visible'):
        Launch('pytorch', 4).slots(None, 1)


class Scripted(Launch):
    """Runs lines of Python instead of trainings."""

    def train(self, run, config, slot):
        code = f'print({run.seed}); assert {run.seed} != 1, "broken"'
        return Command([sys.executable, '-c', code], slot)

    def measure(self, run, slot):
        path = run.folder / 'done'
        return Command(['touch', str(path)], slot)


def test_a_failed_job_does_not_stop_the_others(tmp_path, capsys):
    jobs = [
        Job(Run(tmp_path / 'c' / f'seed{seed}'), tmp_path, True)
        for seed in range(3)
    ]
    crew = Crew(Scripted(), [{}])
    assert crew.work(jobs) == [jobs[1]]
    assert [(job.run.folder / 'done').exists() for job in jobs] == [1, 0, 1]
    output = capsys.readouterr().out
    assert f'c seed 1: FAILED, see {jobs[1].log}' in output
    assert 'AssertionError: broken' in output
    assert jobs[2].log.read_text() == '2\n'


def test_progress(tmp_path):
    log = tmp_path / 'log'
    assert read_progress(log) is None
    line = '02:20:01 - mmengine - INFO - {}  lr: 1e-4  eta: {}  time: 0.3\n'
    log.write_text(
        line.format('Epoch(train)  [3][ 7/26]', '0:02:05')
        + line.format('Epoch(val)  [3][ 7/26]', '0:00:05')
    )
    assert read_progress(log) == ('epoch 3 7/26', 125)
    with log.open('a') as file:
        file.write(line.format('Iter(train) [ 50/900]', '1 day, 1:00:01'))
    assert read_progress(log) == ('50/900', 90001)


def test_what_runs_is_not_done(tmp_path):
    jobs = [
        Job(Run(tmp_path / 'c' / f'seed{seed}'), tmp_path, True)
        for seed in range(2)
    ]
    jobs[1].run.folder.mkdir(parents=True)
    line = 'Epoch(train)  [3][ 7/26]  lr: 1e-4  eta: 0:01:00  time: 0.3\n'
    jobs[1].log.write_text(line)
    crew = Crew(Scripted(), [{}])
    crew.took[jobs[0]] = 200
    crew.processes[jobs[1]], crew.begun[jobs[1]] = None, time.time() - 140
    # Of 200 s a job: 60 s of the second, and 2 more to come.
    assert crew._line(4) == (
        '1 of 4 done, about 7 min 40 s left: c seed 1 epoch 3 7/26'
    )


def test_time_left():
    # 30 and 10 seconds of the running, 3 jobs of 100: 340 on two slots.
    assert seconds_left([30, 10], [90, 110], 3, 2) == 170
    assert seconds_left([30, 10], [], 0, 2) == 30
    assert seconds_left([], [], 3, 2) is None
    assert format_time(65) == '1 min 05 s'
    assert format_time(3720) == '1 h 02 min'


def test_preparations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = Preparation(tmp_path / 'x', 'echo once >> x')
    prepare([step])
    prepare([step])
    assert (tmp_path / 'x').read_text() == 'once\n'
    wrong = [Preparation(tmp_path / 'y', 'true')]
    with pytest.raises(RuntimeError, match=r'status 0 and did not make .*y'):
        prepare(wrong)


def test_a_folder_of_runs_is_held_once(tmp_path):
    with hold(tmp_path):
        with pytest.raises(RuntimeError, match='another benchmark'):
            with hold(tmp_path):
                pass
    with hold(tmp_path):
        pass
