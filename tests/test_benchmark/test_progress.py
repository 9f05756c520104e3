"""What is said of jobs that wait, run, have ended or failed."""

import time

import pytest
from mmengine.config import Config
from rich.console import Console

from mmdet_klrpn.benchmark import progress
from mmdet_klrpn.benchmark.progress import (
    Display,
    format_time,
    last_iteration,
)
from mmdet_klrpn.benchmark.runs import Run, write_config
from mmdet_klrpn.benchmark.tasks import JOBS, LOG, Job, Step, note_phases

TRAIN = (
    '11/25 08:00:00 - mmengine - INFO - Epoch(train)  [{}][ {}/50]  lr: 1\n'
)
STEPS = tuple(Step(phase, ['true']) for phase in ('training', 'measuring'))
NOW = 1000.0


@pytest.fixture
def display(tmp_path, monkeypatch):
    """A display of jobs of two detectors and two seeds, on two slots."""
    monkeypatch.setattr(time, 'time', lambda: NOW)
    jobs = []
    for seed in range(2):
        for name in 'ab':
            run = Run(tmp_path / name / f'seed{seed}')
            config = Config(dict(train_cfg=dict(max_epochs=4)))
            write_config(run, config, seed)
            (run.folder / JOBS).mkdir()
            jobs.append(Job(f'{name}, seed {seed}', name, run.folder, STEPS))
    return Display(jobs, 2)


def start(job, saved=0.0, log=0, **phases):
    """Note when phases began, and how long they took if they are over."""
    notes = {}
    for phase, (began, *took) in phases.items():
        notes[phase] = dict(began=began, saved=saved, log=log)
        notes[phase].update(took=took[0]) if took else None
    note_phases(job.folder, notes)


def test_the_last_iteration(tmp_path):
    log = tmp_path / 'log'
    assert last_iteration(log) is None
    log.write_text(TRAIN.format(3, 7) + 'Epoch(val)  [3][ 9/26]  eta: 1\n')
    assert last_iteration(log) == (3, 7, 50)
    begin = log.stat().st_size
    assert last_iteration(log, begin) is None
    with log.open('a') as file:
        file.write('Iter(train) [ 50/900]  lr: 1\n')
    assert last_iteration(log, begin) == (None, 50, 900)


def test_nothing_is_said_of_what_is_unknown(display):
    display.update({})
    assert display.line() == '0 of 4 done, 4 waiting'
    display.update({'a, seed 0': 'running', 'b, seed 0': 'waiting'})
    assert display.line() == ('0 of 4 done, 3 waiting; a, seed 0: starting')


def test_time_left_by_the_speed_of_this_start(display):
    a, b = display.jobs[:2]
    # Half of the training was saved before; another eighth took 100 seconds.
    start(a, saved=0.5, log=len(TRAIN.format(2, 50)), training=(NOW - 100,))
    (a.folder / LOG).write_text(TRAIN.format(2, 50))
    display.update({a.name: 'running'})
    assert (display.states[a.name], display.left(a)) == (
        'training',
        (0, False),
    )
    with (a.folder / LOG).open('a') as log:
        log.write(TRAIN.format(3, 25))
    display.update({a.name: 'running'})
    assert display.now[a.name] == ('epoch 3/4 25/50', 300)
    # How long measuring takes is not known yet.
    assert display.left(a) == (300, False)
    # a's second seed needs 800 s and its measuring, on the other slot.
    assert display.left_of_all() == ', at least 13 min 20 s left'
    start(b, measuring=(NOW - 10, 40), training=(NOW - 200, 150))
    display.end(b, True)
    assert display.left(b) == (0, True)
    assert display.left(display.jobs[3]) == (190, True)
    assert display.left_of_all() == ', at least 13 min 20 s left'
    start(display.jobs[2], training=(0, 800), measuring=(0, 60))
    display.end(display.jobs[2], True)
    assert display.left(a) == (360, True)
    # b's second seed, 190 s, has the other slot.
    assert display.left_of_all() == ', about 6 min 00 s left'
    assert display.line() == (
        '2 of 4 done, 1 waiting, about 6 min 00 s left; '
        'a, seed 0: training epoch 3/4 25/50'
    )


def test_measuring_takes_what_it_took_other_seeds(display):
    a = display.jobs[0]
    start(display.jobs[2], training=(0, 100), measuring=(0, 60))
    display.end(display.jobs[2], True)
    start(a, training=(0, 100), measuring=(NOW - 20,))
    display.update({a.name: 'running'})
    assert (display.states[a.name], display.left(a)) == (
        'measuring',
        (40, True),
    )


def test_earlier_runs_tell_how_long_a_job_takes(display):
    # A quarter of a training, resumed: 100 seconds for the rest.
    start(display.jobs[0], 0.75, training=(0, 100), measuring=(0, 60))
    (display.jobs[2].folder / 'epoch_2.pth').touch()
    (display.jobs[2].folder / 'last_checkpoint').write_text('/a/epoch_2.pth')
    again = Display(display.jobs[2:], 1)
    assert again.left(display.jobs[2]) == (200 + 60, True)
    assert again.left(display.jobs[3]) == (0, False)


def test_a_queue_is_waited_for(display):
    queued = Display(display.jobs[:1], 0)
    queued.took = {('a', 'training'): [100], ('a', 'measuring'): [20]}
    queued.update({'a, seed 0': 'waiting'})
    assert queued.left_of_all() == ', at least 2 min 00 s left'


def test_a_job_waits_for_the_one_before(display):
    first = display.jobs[0]._replace(steps=STEPS[:1])
    second = first._replace(name='m', steps=STEPS[1:], after=first.name)
    both = Display([first, second], 2)
    both.took = {('a', 'training'): [100], ('a', 'measuring'): [20]}
    assert both.left_of_all() == ', about 2 min 00 s left'


def test_a_failure_is_shown_with_the_end_of_its_log(display, capsys):
    job = display.jobs[0]
    display.console = Console()
    display.end(job, False)
    assert 'it has no log: did its job start?' in capsys.readouterr().out
    (job.folder / LOG).write_text('[red]1\n2\n3\n4\n5\n6\n')
    display.end(job, False)
    assert capsys.readouterr().out == (
        f'a, seed 0: failed\n  see {job.log}\n  2\n  3\n  4\n  5\n  6\n'
    )
    display.update({})
    assert display.line() == '0 of 4 done, 1 failed, 3 waiting'


def test_a_terminal_has_a_table(display, monkeypatch):
    job = display.jobs[2]._replace(name='[a], seed 1')
    console = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(progress, 'Console', lambda: console)
    start(job, training=(NOW - 100,))
    (job.folder / LOG).write_text(TRAIN.format(2, 50))
    with Display([display.jobs[0], job], 2) as shown:
        shown.took = {('a', 'measuring'): [20]}
        shown.update({job.name: 'running'})
    lines = console.export_text().splitlines()
    row = next(i for i, x in enumerate(lines) if '[a], seed 1' in x)
    assert 'epoch 2/4 50/50' in lines[row]
    assert '2 min 00 s' in lines[row]
    assert 'a, seed 0' in lines[row + 1]  # those that run come first
    assert '0 of 2 done, 1 waiting, about 3 min 40 s left' in lines[row + 3]


def test_times():
    assert format_time(65) == '1 min 05 s'
    assert format_time(3720) == '1 h 02 min'
