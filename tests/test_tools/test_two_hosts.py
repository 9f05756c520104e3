"""dist_train.sh on two hosts: network namespaces joined by a cable."""

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run
from processes import (
    end_processes,
    processes_with,
    require_programs,
    start,
    unavailable,
    wait_until,
    without_gpu,
)

pytestmark = pytest.mark.slow
ADDRESSES = ('10.99.0.1', '10.99.0.2')
WEIGHTS_HOOK = """
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class WeightsHook(Hook):
    def after_train(self, runner):
        path = f'{runner.work_dir}/weights_{runner.rank}.pth'
        torch.save(runner.model.module.state_dict(), path)
"""


@pytest.fixture(scope='module')
def hosts(tmp_path_factory):
    """Words that run a command on either of the hosts.

    Namespaces of a user of one's own need no root. They last as long as the
    processes that were started in them.
    """
    require_programs('iproute2', 'ip')
    folder = tmp_path_factory.mktemp('hosts')
    env = without_gpu(HOSTS=str(folder))
    namespaces, prefixes = [], []
    try:
        for new in (['--user', '--map-root-user'], []):
            log = folder / str(len(namespaces))
            command = (*sum(prefixes, ()), 'unshare', *new, '--net')
            process = start(*command, 'sleep', 'infinity', log=log, env=env)
            namespaces.append(process)
            if not is_asleep_soon(process):
                unavailable(f'no network namespaces: {log.read_text()}')
            prefixes.append(
                (
                    *('nsenter', '-t', process.pid, '--user', '--net'),
                    '--preserve-credentials',
                )
            )
        cable = 'link add wire type veth peer name wire netns'
        run(*prefixes[0], 'ip', *cable.split(), namespaces[1].pid, env=env)
        for prefix, address in zip(prefixes, ADDRESSES):
            for change in (
                f'address add {address}/24 dev wire',
                'link set wire up',
                'link set lo up',
            ):
                run(*prefix, 'ip', *change.split(), env=env)
        yield prefixes
    finally:
        end_processes(namespaces, 'HOSTS', folder)


def is_asleep_soon(process):
    """Whether its namespaces are made and it has become `sleep`."""
    name = Path(f'/proc/{process.pid}/comm')
    wait_until(lambda: process.poll() or name.read_text() == 'sleep\n', 30)
    return process.returncode is None


@pytest.fixture
def train(background, tiny_config, tmp_path):
    """Start a training on both hosts; return its processes and their logs."""
    (tmp_path / 'weights_hook.py').write_text(WEIGHTS_HOOK)
    config = tmp_path / 'config.py'
    config.write_text(f"""
_base_ = '{tiny_config}'
custom_imports = dict(imports=['mmdet_klrpn', 'weights_hook'])
custom_hooks = [dict(type='WeightsHook')]
""")

    def call(places, gpus, *options):
        started = []
        for rank, place in enumerate(places):
            log = tmp_path / f'{len(places)}_{rank}.log'
            process = background(
                *(*place, ROOT / 'tools' / 'dist_train.sh', config, gpus),
                *('--work-dir', tmp_path / f'on_{len(places)}', *options),
                log=log,
                env=without_gpu(
                    PYTHONPATH=f'{tmp_path}',
                    NNODES=str(len(places)),
                    NODE_RANK=str(rank),
                    MASTER_ADDR=ADDRESSES[0],
                    HOST=f'{tmp_path}_{rank}',
                ),
            )
            started.append((process, log))
        return started

    return call


def test_two_hosts_train_as_one(hosts, train, tmp_path):
    for process, log in [
        *train(hosts, 1),
        *train(hosts[:1], 2),
    ]:
        assert process.wait(300) == 0, log.read_text()[-5000:]
    expected = torch.load(tmp_path / 'on_1' / 'weights_0.pth')
    for rank in range(2):
        weights = torch.load(tmp_path / 'on_2' / f'weights_{rank}.pth')
        for name, value in expected.items():
            assert torch.equal(weights[name], value), name


ENDLESS = ('--cfg-options', 'train_cfg.max_epochs=1000')


@pytest.mark.parametrize('killed', [0, 1])
def test_a_killed_host_ends_the_other_with_a_message(
    hosts, train, tmp_path, killed
):
    started = train(hosts, 1, *ENDLESS)
    (process, log) = started[1 - killed]
    wait_until(lambda: 'Epoch(train)' in started[0][1].read_text())
    for number in processes_with('HOST', f'{tmp_path}_{killed}'):
        os.kill(number, signal.SIGKILL)
    assert process.wait(60) != 0
    address = re.escape(ADDRESSES[killed])
    # Closed or reset by peer, or a broken pipe.
    assert re.search(rf'RuntimeError: .*gloo.*{address}', log.read_text())
    assert not processes_with('HOST', f'{tmp_path}_{1 - killed}')


def test_a_host_that_falls_silent_ends_the_other_after_the_timeout(
    hosts, train, tmp_path
):
    started = train(hosts, 1, *ENDLESS, 'env_cfg.dist_cfg.timeout=10')
    wait_until(lambda: 'Epoch(train)' in started[0][1].read_text())
    run(*hosts[0], 'ip', 'link', 'set', 'wire', 'down')
    try:
        for process, log in started:
            assert process.wait(60) != 0
            assert 'Timed out waiting' in log.read_text()
    finally:
        run(*hosts[0], 'ip', 'link', 'set', 'wire', 'up')
