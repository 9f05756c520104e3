"""Ports of Slurm jobs, and the interface that gloo uses."""

import os

import mmengine.runner.runner
import pytest

from mmdet_klrpn.utils import launchers


@pytest.fixture
def master_port(monkeypatch):
    """Port that a job step of this environment uses."""
    for name in ('init_dist', 'MMDistributedDataParallel'):
        module = mmengine.runner.runner
        monkeypatch.setattr(module, name, getattr(module, name))

    def call(**env):
        # Set first, so that it is restored.
        monkeypatch.setenv('MASTER_PORT', '')
        monkeypatch.delenv('MASTER_PORT')
        for name, value in dict(env, SLURM_PROCID='0').items():
            monkeypatch.setenv(name, str(value))
        launchers.prepare_launcher('slurm')
        return int(os.environ['MASTER_PORT'])

    return call


def test_steps_of_jobs_with_close_ids_have_other_ports(master_port):
    ports = [
        master_port(SLURM_JOB_ID=job, SLURM_STEP_ID=step)
        for job in range(1234567, 1234567 + 90)
        for step in range(3)
    ]
    assert len(set(ports)) == len(ports)
    # Linux gives others to connections, and the lowest to known services.
    assert all(10000 <= port < 32768 for port in ports)


def test_processes_of_a_step_have_one_port(master_port):
    ids = dict(SLURM_JOB_ID=7, SLURM_STEP_ID=0)
    assert master_port(**ids) == master_port(**ids)


def test_a_given_port_stays(master_port):
    assert master_port(MASTER_PORT=1234, SLURM_JOB_ID=7) == 1234


def test_interface_to_this_host_and_to_none():
    for name in ('127.0.0.1', 'localhost'):
        assert launchers.interface_to(name) == 'lo'
    assert launchers.interface_to('no host has this name') is None


def test_a_given_interface_stays(monkeypatch):
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('GLOO_SOCKET_IFNAME', 'eth7')
    launchers._set_interface(local_rank=0)
    assert os.environ['GLOO_SOCKET_IFNAME'] == 'eth7'
    monkeypatch.delenv('GLOO_SOCKET_IFNAME')
    launchers._set_interface(local_rank=0)
    assert os.environ['GLOO_SOCKET_IFNAME'] == 'lo'
