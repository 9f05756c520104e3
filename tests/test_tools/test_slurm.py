"""Trainings and tests on a Slurm, in two tasks that talk through gloo."""

import pytest
from conftest import ROOT
from processes import processes_with, start, wait_until
from slurm import PARTITION
from test_train_and_test import assert_same_state

pytestmark = pytest.mark.slow
EPOCHS = ('--cfg-options', 'train_cfg.max_epochs=2')
PAUSING_HOOK = """
import time
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class PausingHook(Hook):
    def after_train_iter(self, runner, batch_idx, **kwargs):
        if runner.epoch == 1:
            print('paused', flush=True)
            time.sleep(1000)
"""


@pytest.fixture(scope='module')
def submit(slurm):
    """Start a script in the background, which waits for its job's end."""

    def call(script, job, *words, log, **env):
        command = (ROOT / 'tools' / script, PARTITION, job, *words)
        env = {**slurm.env, 'GPUS': '2', 'CPUS_PER_TASK': '1', **env}
        return start(*command, log=log, env=env)

    return call


def finish(process, log):
    """Wait for a process to succeed; return what it printed."""
    code = process.wait(300)
    text = log.read_text()
    assert code == 0, text[-5000:]
    return text


@pytest.fixture(scope='module')
def two_jobs(submit, slurm, tiny_config, tmp_path_factory):
    """Folder with those of two trainings that ran on the node together."""
    folder = tmp_path_factory.mktemp('two jobs')
    jobs = {}
    for name in 'ab':
        jobs[name] = submit(
            *('slurm_train.sh', name, tiny_config, folder / name, *EPOCHS),
            log=folder / f'{name}.log',
            SRUN_ARGS='--time=7 --no-kill',
        )
    wait_until(
        lambda: all(slurm.job(n).get('JobState') == 'RUNNING' for n in jobs)
    )
    for name, process in jobs.items():
        finish(process, folder / f'{name}.log')
    return folder


def test_two_jobs_at_once_train_alike(two_jobs):
    assert_same_state(*(two_jobs / name / 'epoch_2.pth' for name in 'ab'))


def test_srun_gets_its_options(two_jobs, slurm):
    job = slurm.job('a')
    assert job['TimeLimit'] == '00:07:00'
    assert job['NumTasks'] == '2'
    assert 'gres/gpu=2' in job['TRES'] or 'gpu:2' in job['TresPerNode']


def test_a_checkpoint_is_tested(two_jobs, submit, tiny_config, tmp_path):
    log = tmp_path / 'log'
    process = submit(
        *('slurm_test.sh', 'test', tiny_config, two_jobs / 'a/epoch_2.pth'),
        *('--work-dir', tmp_path),
        log=log,
        # A partition without GPUs.
        SRUN_ARGS='--gres=none',
    )
    assert 'coco/bbox_mAP' in finish(process, log)


def test_a_cancelled_job_ends_with_the_weights_of_an_unbroken_one(
    two_jobs, submit, slurm, tiny_config, tmp_path
):
    (tmp_path / 'pausing_hook.py').write_text(PAUSING_HOOK)
    config = tmp_path / 'pausing.py'
    config.write_text(f"""
_base_ = '{tiny_config}'
custom_imports = dict(imports=['mmdet_klrpn', 'pausing_hook'])
custom_hooks = [dict(type='PausingHook')]
""")
    work_dir, log = tmp_path / 'work_dir', tmp_path / 'log'
    process = submit(
        *('slurm_train.sh', 'cancelled', config, work_dir, *EPOCHS),
        log=log,
        PYTHONPATH=str(tmp_path),
        MARK=str(tmp_path),
    )
    wait_until(lambda: log.read_text().count('paused') == 2)
    assert len(processes_with('MARK', tmp_path)) > 2
    slurm.call('scancel', slurm.job('cancelled')['JobId'])
    assert process.wait(30) != 0
    wait_until(lambda: not processes_with('MARK', tmp_path), 30)
    assert not (work_dir / 'epoch_2.pth').exists()

    process = submit(
        *('slurm_train.sh', 'resumed', tiny_config, work_dir),
        *('--resume', *EPOCHS),
        log=log,
    )
    assert 'resumed epoch: 1' in finish(process, log)
    assert_same_state(work_dir / 'epoch_2.pth', two_jobs / 'a/epoch_2.pth')


def test_a_signal_to_the_script_ends_the_job(submit, slurm, tmp_path):
    config = tmp_path / 'waiting.py'
    config.write_text("""
import time
print('waiting', flush=True)
time.sleep(1000)
""")
    log = tmp_path / 'log'
    process = submit(
        *('slurm_train.sh', 'signalled', config, tmp_path),
        log=log,
        MARK=str(tmp_path),
    )
    wait_until(lambda: log.read_text().count('waiting') == 2)
    process.terminate()
    assert process.wait(30) != 0
    wait_until(lambda: not processes_with('MARK', tmp_path), 30)
