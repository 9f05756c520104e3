"""What is submitted, what is left alone, and what a signal leaves behind."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from processes import processes_with, wait_until, without_gpu

from mmdet_klrpn.benchmark.jobs import (
    find_jobs,
    prepare,
    timing_job,
    write_configs,
)
from mmdet_klrpn.benchmark.plan import Detector, Plan, Preparation
from mmdet_klrpn.benchmark.queues import LocalQueue, SlurmQueue
from mmdet_klrpn.benchmark.runs import (
    METRICS,
    TIMINGS,
    Run,
    lock_work_dir,
    run_of,
    write_config,
)
from mmdet_klrpn.benchmark.tasks import Job, Step, Task

DRIVER = Path(__file__).with_name('driver.py')
# Makes the file by which a job has succeeded.
MAKE = 'touch "$PWD/metrics.json"'


@pytest.fixture
def plan(tmp_path):
    detectors = Detector('A', 'a.py'), Detector('Zoo', 'z.py', 'z.pth')
    plan = Plan('t', tmp_path, detectors, (), seeds=2)
    config = Config(dict(train_cfg=dict(max_epochs=2)))
    write_configs(plan, dict(A=config, Zoo=config))
    return plan


def finish(run):
    (run.folder / 'epoch_2.pth').touch()
    # As after the folder was moved from another machine.
    (run.folder / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')


def phases_of(jobs):
    return {job.name: [step.phase for step in job.steps] for job in jobs}


def test_only_what_is_missing_is_run(plan):
    both = ['training', 'measuring']
    assert phases_of(find_jobs(plan, 1)) == {
        'A, seed 0': both,
        'Zoo, seed 0': ['measuring'],
        'A, seed 1': both,
    }
    first = run_of(plan.work_dir, plan.detectors[0], 0)
    finish(first)
    assert phases_of(find_jobs(plan, 1, measure_only=True)) == {
        'A, seed 0': ['measuring'],
        'Zoo, seed 0': ['measuring'],
    }
    (first.folder / METRICS).touch()
    assert list(phases_of(find_jobs(plan, 1))) == ['Zoo, seed 0', 'A, seed 1']


def test_measuring_does_not_hold_the_gpus_of_a_training(plan):
    jobs = {job.name: job for job in find_jobs(plan, 8)}
    train, measure = jobs['A, seed 1'], jobs['A, seed 1, measuring']
    assert (train.gpus, measure.gpus, measure.after) == (8, 1, train.name)
    assert train.steps[0].words[-2:] == ['--launcher', 'pytorch']


def test_the_config_of_a_run_has_its_seed(plan):
    run = run_of(plan.work_dir, plan.detectors[0], 1)
    assert Config.fromfile(run.config).randomness == dict(seed=1)
    zoo = run_of(plan.work_dir, plan.detectors[1], 0)
    assert 'randomness' not in Config.fromfile(zoo.config)
    (job,) = (job for job in find_jobs(plan, 1) if job.name == 'A, seed 1')
    assert job.steps[0].words[2:] == [
        *(str(run.config), '--work-dir', str(run.folder)),
    ]


def test_detectors_are_timed_after_the_last_measurement(plan):
    assert timing_job(plan) is None
    run = run_of(plan.work_dir, plan.detectors[0], 0)
    (run.folder / METRICS).touch()
    assert timing_job(plan).steps[0].words[2:] == ['time', str(plan.work_dir)]
    (plan.work_dir / TIMINGS).touch()
    later = (run.folder / METRICS).stat().st_mtime + 10
    os.utime(plan.work_dir / TIMINGS, (later, later))
    assert timing_job(plan) is None


def test_each_group_of_gpus_is_a_slot(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3,GPU-5, 7,-1,0')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(8))
    slots = LocalQueue(2).slots
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in slots] == [
        '2,3',
        'GPU-5,7',
    ]
    assert {slot['OMP_NUM_THREADS'] for slot in slots} == {'2'}
    with pytest.raises(ValueError, match='--gpus 5, but 4 are visible'):
        LocalQueue(5)


def test_without_a_gpu_jobs_share_the_cores(monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(8))
    assert LocalQueue(1, 2).slots == [{'OMP_NUM_THREADS': '4'}] * 2
    assert len(LocalQueue(4).slots) == 2


def test_options_of_sbatch():
    options = {'partition': 'p', 'cpus-per-task': '9', 'exclusive': True}
    queue = SlurmQueue(16, {**options, 'gres': 'gpu:a100:8'})
    found = queue.parameters(16)
    assert (found['nodes'], found['ntasks_per_node']) == (2, 8)
    assert found['additional_parameters'] == {
        **options,
        **{'gres': 'gpu:a100:8', 'requeue': True},
    }
    queue = SlurmQueue(8, {'ntasks-per-node': '4'})
    assert queue.describe(Job('n', None, (), 8)) == (
        'sbatch --nodes=2 --ntasks-per-node=4 --cpus-per-task=4 --requeue '
        '--gres=gpu:4'
    )
    assert '--nodes=1 --ntasks-per-node=1' in queue.describe(
        Job('n', None, (), 1)
    )
    with pytest.raises(ValueError, match='multiple of 8'):
        SlurmQueue(9, options)


def test_a_job_is_queued_again_once_there_is_room(monkeypatch, tmp_path):
    monkeypatch.setattr(SlurmQueue, '_look', lambda self: None)
    affinity = classmethod(lambda cls: 1)
    monkeypatch.setattr('submitit.SlurmExecutor.affinity', affinity)
    answers = ['1', RuntimeError('QOSMaxSubmitJobPerUserLimit'), '2']

    def submit(*args):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(job_id=answer)

    monkeypatch.setattr('submitit.SlurmExecutor.submit', submit)
    step = Step('measuring', ['true'])
    jobs = [Job(str(i), tmp_path / str(i), (step,)) for i in range(2)]
    queue = SlurmQueue(1, {})
    assert queue.submit(jobs[0])
    assert not queue.submit(jobs[1])  # refused
    assert not queue.submit(jobs[1])  # not asked
    assert queue.states() == {'0': 'waiting'}
    queue.listed.clear()
    assert queue.submit(jobs[1])
    queue.listed.clear()
    answers.append(RuntimeError('invalid partition'))
    with pytest.raises(RuntimeError, match='sbatch: invalid partition'):
        queue.submit(jobs[0])


def test_a_job_that_saves_nothing_is_not_requeued_for_ever(tmp_path):
    config = Config(dict(train_cfg=dict(max_epochs=4)))
    write_config(Run(tmp_path / 'seed0'), config, 0)
    task = Task(Job('a', tmp_path / 'seed0', ()))
    for epoch, fruitless in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2)):
        if epoch:
            (task.job.folder / f'epoch_{epoch}.pth').touch()
            named = task.job.folder / 'last_checkpoint'
            named.write_text(f'epoch_{epoch}.pth')
        saved, task = task.saved, task.checkpoint().function
        assert task.fruitless == fruitless
        task.saved = Run(task.job.folder).saved  # as it begins
        assert (task.saved > saved) == (fruitless == 0)
    assert task.checkpoint() is None


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
    with lock_work_dir(tmp_path):
        with pytest.raises(RuntimeError, match='another benchmark'):
            with lock_work_dir(tmp_path):
                pass
    with lock_work_dir(tmp_path):
        pass


@pytest.fixture
def drive(background, tmp_path):
    """Start the driver; commands run in the folders of their runs."""

    def call(launcher, *commands, gpus=1, env=None):
        commands = [
            f'cd {tmp_path}/d/seed{i}; {command}'
            for i, command in enumerate(commands)
        ]
        return background(
            *(sys.executable, DRIVER, tmp_path, launcher, gpus, *commands),
            log=tmp_path / 'log',
            env=env or without_gpu(),
        )

    # It inherits what the tests were started to ignore, as by nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield call
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_others(drive, tmp_path):
    process = drive('local', MAKE, 'echo broken; false', f'sleep 2; {MAKE}')
    assert process.wait(300) == 0
    text = (tmp_path / 'log').read_text()
    assert text.endswith('failed: d, seed 1\n')
    assert f'd, seed 1: failed\n  see {tmp_path}/d/seed1/benchm' in text
    assert '  broken\n' in text


@pytest.mark.slow
@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'])
def test_a_signal_leaves_nothing_running(drive, tmp_path, number):
    waits = 'sleep 1000 & touch started; wait'
    process = drive('local', *[waits] * 3)
    started = [tmp_path / f'd/seed{i}/started' for i in range(3)]
    wait_until(lambda: started[0].exists() and started[1].exists())
    process.send_signal(getattr(signal, number))
    assert process.wait(300) != 0
    if number != 'SIGKILL':
        assert not processes_with('TEST', tmp_path)
        assert f'KeyboardInterrupt: {number}' in (tmp_path / 'log').read_text()
    wait_until(lambda: not processes_with('TEST', tmp_path), 30)
    assert not started[2].exists()


@pytest.mark.slow
def test_a_killed_task_or_rank_ends_its_job(drive, tmp_path):
    waits = 'touch started; exec sleep 1000'
    process = drive(
        'local', f'[ $RANK = 0 ] && {{ {waits}; }}; exit 3', MAKE, gpus=2
    )
    assert process.wait(300) == 0
    assert 'failed: d, seed 0\n' in (tmp_path / 'log').read_text()
    (tmp_path / 'd/seed0/started').unlink()
    process = drive('local', waits)
    wait_until((tmp_path / 'd/seed0/started').exists)
    (task,) = (
        int(number)
        for number in Path(f'/proc/{process.pid}/task/{process.pid}/children')
        .read_text()
        .split()
    )
    os.kill(task, signal.SIGKILL)
    assert process.wait(300) == 0
    assert not processes_with('TEST', tmp_path)


def jobs_of(slurm):
    return slurm.call('squeue', '-h', '-o', '%i').split()


@pytest.mark.slow
def test_slurm_gets_the_options_and_jobs_their_own_port(
    drive, slurm, tmp_path
):
    wait = 'while [ ! -e ../../go ]; do sleep 0.1; done'
    note = 'echo $MASTER_PORT $WORLD_SIZE > rank$RANK'
    commands = [f'{note}; {wait}; {MAKE}'] * 2
    process = drive('slurm', *commands, gpus=2, env=slurm.env)
    ranks = [tmp_path / f'd/seed{i}/rank{r}' for i in (0, 1) for r in (0, 1)]
    wait_until(lambda: all(path.exists() for path in ranks))
    job = slurm.job('d, seed 1') or slurm.job('d,')
    assert job['TimeLimit'] == '00:07:00'
    assert (job['NumTasks'], job['Comment']) == ('2', 'mine')
    assert 'gres/gpu=2' in job['TRES'] or 'gpu:2' in job['TresPerNode']
    (tmp_path / 'go').touch()
    assert process.wait(300) == 0
    said = [path.read_text().split() for path in ranks]
    assert said[0] == said[1] != said[2] == said[3]
    assert {size for _, size in said} == {'2'}


@pytest.mark.slow
def test_requeued_jobs_go_on(drive, slurm, tmp_path):
    # The first time it waits for its end, the second it finds its mark.
    once = f'[ -e mark ] && {MAKE} || {{ touch mark; exec sleep 1000; }}'
    process = drive('slurm', once, once, env=slurm.env)
    wait_until(lambda: len(list(tmp_path.glob('d/*/mark'))) == 2)
    by_slurm, by_submitit = jobs_of(slurm)
    slurm.call('scontrol', 'requeue', by_slurm)
    slurm.call('scancel', '--signal=USR2', by_submitit)
    assert process.wait(400) == 0
    assert (tmp_path / 'log').read_text().endswith('failed:\n')


@pytest.mark.slow
def test_slurm_s_jobs_are_cancelled_together(drive, slurm, tmp_path):
    process = drive('slurm', *['touch on; exec sleep 1000'] * 2, env=slurm.env)
    wait_until(lambda: len(list(tmp_path.glob('d/*/on'))) == 2)
    since = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) != 0
    assert time.monotonic() - since < 14  # Slurm would wait for 15 seconds
    assert not jobs_of(slurm)
    assert not processes_with('TEST', tmp_path)


@pytest.mark.slow
def test_a_killed_driver_s_jobs_are_found_again(drive, slurm, tmp_path):
    count = 'echo x >> starts; while [ ! -e go ]; do sleep 0.1; done'
    process = drive('slurm', f'{count}; {MAKE}', env=slurm.env)
    starts = tmp_path / 'd/seed0/starts'
    wait_until(starts.exists)
    process.kill()
    process.wait()
    process = drive('slurm', f'{count}; {MAKE}', env=slurm.env)
    time.sleep(10)
    (tmp_path / 'd/seed0/go').touch()
    assert process.wait(300) == 0
    assert starts.read_text() == 'x\n'


@pytest.mark.slow
def test_a_job_that_slurm_lost_has_failed(drive, slurm, tmp_path):
    process = drive('slurm', 'touch on; exec sleep 1000', env=slurm.env)
    wait_until((tmp_path / 'd/seed0/on').exists)
    slurm.call('scancel', *jobs_of(slurm))
    assert process.wait(300) == 0
    assert (tmp_path / 'log').read_text().endswith('failed: d, seed 0\n')
