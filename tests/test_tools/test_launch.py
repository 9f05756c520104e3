"""The scripts that start trainings and tests in several processes."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from conftest import ROOT, load_checkpoint
from processes import (
    processes_with,
    require_programs,
    wait_until,
    without_gpu,
)

ARGUMENTS = {
    'dist_train.sh': ('CONFIG', 'GPUS'),
    'dist_test.sh': ('CONFIG', 'CHECKPOINT', 'GPUS'),
    'slurm_train.sh': ('PARTITION', 'JOB_NAME', 'CONFIG', 'WORK_DIR'),
    'slurm_test.sh': ('PARTITION', 'JOB_NAME', 'CONFIG', 'CHECKPOINT'),
}
VALUES = dict(
    CONFIG='my config.py',
    GPUS='2',
    CHECKPOINT='its weights.pth',
    PARTITION='part',
    JOB_NAME='job',
    WORK_DIR='its folder',
)
DIST = ('CONFIG', '2')
SLURM = ('part', 'job', 'CONFIG', 'DIR')
# In place of python and srun: its own process, its words and its port.
STUB = f"""#!/bin/sh
if [ "$1" = -c ]; then exec '{sys.executable}' "$@"; fi
printf '%s\\n' "$$" "$@" "MASTER_PORT=$MASTER_PORT"
"""


@pytest.fixture
def launch(tmp_path):
    """Run a script with stubs, in an environment of these variables alone."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)

    def call(script, *words, **env):
        process = subprocess.Popen(
            [str(ROOT / 'tools' / script), *words],
            cwd=str(tmp_path),
            env=dict(PATH=f'{tmp_path}:/usr/bin:/bin', **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, error = process.communicate()
        return process, out.splitlines(), error

    return call


def values(script):
    """Arguments that a script can do nothing but pass on."""
    return [VALUES[name] for name in ARGUMENTS[script]]


@pytest.mark.parametrize('script', ARGUMENTS)
def test_help_names_arguments_and_variables(launch, script):
    names = ' '.join(ARGUMENTS[script])
    kind = script.split('_')[0]
    variables = dict(
        dist='NNODES NODE_RANK',
        slurm='GPUS GPUS_PER_NODE CPUS_PER_TASK SRUN_ARGS',
    )[kind]
    variables += ' PORT MASTER_PORT MASTER_ADDR'
    variables += ' NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME'
    for words in (['--help'], ['-h'], [*values(script)[:-1], '-h']):
        process, out, error = launch(script, *words)
        assert (process.returncode, error) == (0, '')
        assert out[0].endswith(f'{script} {names} [options of {tool(script)}]')
        for variable in variables.split():
            assert re.search(rf'\b{variable}\b', '\n'.join(out)), variable


def tool(script):
    """The Python tool that a script runs."""
    return script.split('_')[1].replace('.sh', '.py')


@pytest.mark.parametrize('script', ARGUMENTS)
def test_a_missing_argument_is_named(launch, script):
    for position, name in enumerate(ARGUMENTS[script]):
        given = values(script)[:position]
        for words in (given, [*given, ''], [*given, '--amp', '--resume']):
            process, out, error = launch(script, *words)
            assert (process.returncode, out) == (2, [])
            assert f'{name} is missing' in error
            assert ' '.join(ARGUMENTS[script]) in error


@pytest.mark.parametrize(
    ('script', 'words', 'env', 'message'),
    [
        ('dist_train.sh', ('CONFIG', 'two'), {}, 'GPUS must be a number'),
        ('dist_train.sh', ('CONFIG', '0'), {}, 'GPUS must be a number'),
        ('dist_train.sh', DIST, dict(NNODES='x'), 'NNODES must be a number'),
        ('slurm_train.sh', SLURM, dict(GPUS='no'), 'GPUS must be a number'),
        (
            *('slurm_train.sh', SLURM, dict(GPUS_PER_NODE='-1')),
            'GPUS_PER_NODE must be a number',
        ),
        (
            *('dist_train.sh', DIST, dict(NNODES='2', NODE_RANK='0')),
            'NNODES=2 needs NODE_RANK and MASTER_ADDR',
        ),
        (
            *('dist_train.sh', DIST, dict(NNODES='2', MASTER_ADDR='a')),
            'NNODES=2 needs NODE_RANK and MASTER_ADDR',
        ),
    ],
)
def test_values_that_cannot_be_are_refused(
    launch, script, words, env, message
):
    process, out, error = launch(script, *words, **env)
    assert (process.returncode, out) == (2, [])
    assert message in error


@pytest.mark.parametrize('script', ARGUMENTS)
def test_a_link_with_spaces_from_any_folder(launch, script, tmp_path):
    link = tmp_path / 'a folder' / 'a link'
    link.parent.mkdir()
    link.symlink_to(ROOT / 'tools' / script)
    process, out, error = launch(link, *values(script), '--amp', 'a b')
    assert (process.returncode, error) == (0, '')
    # A signal to the script is one to torchrun or srun.
    assert int(out[0]) == process.pid
    first = out.index(str(ROOT / 'tools' / tool(script)))
    launcher = dict(dist='pytorch', slurm='slurm')[script.split('_')[0]]
    assert out[first + 1 : first + 4] == [
        *(VALUES['CONFIG'], '--launcher', launcher)
    ]
    last = VALUES['CHECKPOINT'] if 'test' in script else None
    if script == 'slurm_train.sh':
        last = f'--work-dir={VALUES["WORK_DIR"]}'
    assert out[first + 4 : -1] == [*([last] if last else []), '--amp', 'a b']


MACHINES = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1')


@pytest.mark.parametrize(
    ('env', 'port'),
    [
        (dict(PORT='1234'), 1234),
        (dict(MASTER_PORT='1234'), 1234),
        (dict(PORT='1234', MASTER_PORT='4321'), 1234),
        (dict(MACHINES, PORT='1234'), 1234),
        # One that all machines know.
        (MACHINES, 29500),
        (dict(MACHINES, SLURM_JOB_ID='40123'), 10123),
    ],
)
def test_port_of_torchrun(launch, env, port):
    _, out, _ = launch('dist_train.sh', *DIST, **env)
    assert f'--master_port={port}' in out
    assert f'--nnodes={env.get("NNODES", 1)}' in out
    assert f'--node_rank={env.get("NODE_RANK", 0)}' in out
    assert f'--master_addr={env.get("MASTER_ADDR", "127.0.0.1")}' in out


def test_port_of_one_machine_is_free(launch):
    ports = set()
    for _ in range(3):
        _, out, _ = launch('dist_test.sh', 'CONFIG', 'CHECKPOINT', '2')
        (word,) = [w for w in out if w.startswith('--master_port=')]
        port = int(word.split('=')[1])
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', port))
        ports.add(port)
    assert len(ports) > 1


@pytest.mark.parametrize(
    ('env', 'port'),
    [
        ({}, ''),  # of the job, whose id only its processes know
        (dict(PORT='1234'), '1234'),
        (dict(MASTER_PORT='1234'), '1234'),
        (dict(PORT='1234', MASTER_PORT='4321'), '1234'),
    ],
)
def test_port_of_srun(launch, env, port):
    _, out, _ = launch('slurm_train.sh', *SLURM, **env)
    assert out[-1] == f'MASTER_PORT={port}'


@pytest.mark.parametrize(
    ('env', 'words'),
    [
        ({}, '--gres=gpu:8 --ntasks=8 --ntasks-per-node=8'),
        (dict(GPUS='16'), '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8'),
        # A node of two GPUs can be enough for two processes.
        (dict(GPUS='2'), '--gres=gpu:2 --ntasks=2 --ntasks-per-node=2'),
        (
            dict(GPUS='8', GPUS_PER_NODE='4', CPUS_PER_TASK='3'),
            '--gres=gpu:4 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=3',
        ),
        (
            dict(SRUN_ARGS='--time=9  -w node[1-2]'),
            '--kill-on-bad-exit=1 --time=9 -w node[1-2] python',
        ),
    ],
)
def test_options_of_srun(launch, tmp_path, env, words):
    (tmp_path / 'node1').touch()
    _, out, _ = launch('slurm_test.sh', *SLURM, **env)
    assert words in ' '.join(out)
    assert out[1:4] == ['-p', 'part', '--job-name=job']


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_script_ends_every_process(
    background, tiny_config, tmp_path, number
):
    log = tmp_path / 'log'
    process = background(
        *(ROOT / 'tools' / 'dist_train.sh', tiny_config, 2),
        *('--work-dir', tmp_path),
        *('--cfg-options', 'train_cfg.max_epochs=1000'),
        log=log,
        env=without_gpu(),
    )
    wait_until(lambda: 'Epoch(train)' in log.read_text())
    os.kill(process.pid, number)
    assert process.wait(60) != 0
    wait_until(lambda: not processes_with('TEST', tmp_path), 20)


@pytest.mark.slow
def test_two_trainings_at_once_on_one_machine(
    background, tiny_config, tmp_path
):
    processes = []
    for name in 'ab':
        processes.append(
            background(
                *(ROOT / 'tools' / 'dist_train.sh', tiny_config, 2),
                *('--work-dir', tmp_path / name),
                log=tmp_path / f'{name}.log',
                env=without_gpu(),
            )
        )
    for process, name in zip(processes, 'ab'):
        text = (tmp_path / f'{name}.log').read_text
        assert process.wait(300) == 0, text()[-5000:]
    one, other = (load_checkpoint(tmp_path / n / 'epoch_1.pth') for n in 'ab')
    assert one['meta']['iter'] == other['meta']['iter'] == 2


def test_a_machine_without_slurm_skips_tests_but_not_in_ci(monkeypatch):
    monkeypatch.setenv('CI', 'true')
    for error in (pytest.fail.Exception, pytest.skip.Exception):
        with pytest.raises(error, match='no slurmx: apt-get install package'):
            require_programs('package', 'sh', 'slurmx')
        monkeypatch.setenv('CI', '')
