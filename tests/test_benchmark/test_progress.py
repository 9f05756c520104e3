"""What is said of jobs that wait, run, have ended or failed."""

import time

import pytest
from mmengine.config import Config
from rich.console import Console

from mmdet_klrpn.benchmark import progress
from mmdet_klrpn.benchmark.progress import Display, look, trained
from mmdet_klrpn.benchmark.runs import METRICS, Run, write_config
from mmdet_klrpn.benchmark.tasks import LOG, Job, Step

TRAIN = (
    '11/25 08:00:00 - mmengine - INFO - Epoch(train)  [{}][ {}/50]  lr: 1\n'
)
STEPS = tuple(Step(phase, ['true']) for phase in ('training', 'measuring'))


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what it is set to."""
    now = [1000.0]
    monkeypatch.setattr(time, 'time', lambda: now[0])
    return now


@pytest.fixture
def jobs(tmp_path):
    """Jobs of two detectors and two seeds."""
    found = []
    for seed in range(2):
        for name in 'ab':
            run = Run(tmp_path / name / f'seed{seed}')
            config = Config(dict(train_cfg=dict(max_epochs=4)))
            write_config(run, config, seed)
            found.append(Job(f'{name}, seed {seed}', run.folder, STEPS))
    return found


def train(job, epoch, iteration):
    with (job.folder / LOG).open('a') as log:
        log.write(TRAIN.format(epoch, iteration))
    if (epoch, iteration) == (4, 50):
        (job.folder / 'epoch_4.pth').touch()
        (job.folder / 'last_checkpoint').write_text('/a/epoch_4.pth')


def test_the_last_iteration(jobs):
    folder = jobs[0].folder
    assert trained(folder) == ('', 0)
    (folder / LOG).write_text('starts')
    assert trained(folder) == ('', 0)
    train(jobs[0], 3, 7)
    with (folder / LOG).open('a') as file:
        file.write('Epoch(val)  [3][ 9/26]  eta: 1\n')
    assert trained(folder) == ('epoch 3/4 7/50', 2.14 / 4)
    with (folder / LOG).open('a') as file:
        file.write('Iter(train) [ 50/900]  lr: 1\n')
    assert trained(folder) == ('50/900', 50 / 900)


def test_phases_and_shares_of_a_job(jobs):
    job = jobs[0]
    assert look(job) == ('training', '', 0)
    train(job, 3, 25)
    phase, where, done = look(job)
    assert (phase, where) == ('training', 'epoch 3/4 25/50')
    assert done == pytest.approx(2.5 / 4 * 10 / 11)
    train(job, 4, 50)
    assert look(job) == ('measuring', '', 10 / 11)
    (job.folder / METRICS).touch()
    assert look(job)[2] == pytest.approx(1)
    # A saved training is resumed, before its log says so.
    (jobs[1].folder / 'epoch_2.pth').touch()
    (jobs[1].folder / 'last_checkpoint').write_text('/a/epoch_2.pth')
    assert look(jobs[1])[2] == pytest.approx(5 / 11)


def test_nothing_is_said_of_what_is_unknown(jobs):
    display = Display(jobs)
    display.update({})
    assert display.line() == '0 of 4 done, 4 waiting'
    display.update({'a, seed 0': 'running', 'b, seed 0': 'waiting'})
    assert display.line() == '0 of 4 done, 3 waiting; a, seed 0: training'


def test_time_left_by_the_speed_so_far(jobs, clock):
    # What was done before tells nothing of the speed.
    train(jobs[0], 2, 50)
    display = Display(jobs)
    clock[0] += 500
    display.update({jobs[0].name: 'running'})
    assert display.left(jobs[0].name) == display.left() == ''
    clock[0] += 100
    train(jobs[0], 3, 50)
    display.update({jobs[0].name: 'running'})
    # 2.5 of 11 parts took 100 seconds, and 3.5 are left.
    assert display.left(jobs[0].name) == ', about 0:02:20 left'
    # All jobs have 44 parts: 2.5 took 600 seconds, and 36.5 are left.
    assert display.left() == ', about 2:26:00 left'
    assert display.line() == (
        '0 of 4 done, 3 waiting, about 2:26:00 left; '
        'a, seed 0: training epoch 3/4 50/50, about 0:02:20 left'
    )
    for job in jobs:
        display.end(job, True)
    assert display.line() == '4 of 4 done'


def test_a_failure_is_shown_with_the_end_of_its_log(jobs, capsys):
    display, job = Display(jobs), jobs[0]
    display.console = Console()
    display.end(job, False)
    assert 'it has no log: did its job start?' in capsys.readouterr().out
    (job.folder / LOG).write_text('[red]1\n2\n3\n4\n5\n6\n')
    display.end(job, False)
    assert capsys.readouterr().out == (
        f'a, seed 0: failed\n  see {job.log}\n  2\n  3\n  4\n  5\n  6\n'
    )
    display.update({})
    assert display.line().startswith('0 of 4 done, 1 failed, 3 waiting')


def test_a_terminal_has_a_line_for_each_that_runs(jobs, clock, monkeypatch):
    job = jobs[2]._replace(name='[a], seed 1')
    console = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, 'Console', lambda: console)
    with Display([jobs[0], job]) as shown:
        shown.update({job.name: 'running'})
        clock[0] += 100
        train(job, 2, 50)
        shown.update({job.name: 'running'})
    lines = [line.strip() for line in console.export_text().splitlines()]
    assert lines[-2:] == [
        '0 of 2 done, 1 waiting, about 0:05:40 left',
        '[a], seed 1: training epoch 2/4 50/50, about 0:02:00 left',
    ]
