"""Extend mmengine's launchers to hosts without a GPU and Slurm ports."""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Optional
from unittest.mock import patch

import mmengine.runner.runner
import torch
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.model import MMDistributedDataParallel
from torch import nn

# Command of a launcher, a variable that it sets, and the scripts that call it.
_STARTERS = dict(
    pytorch=('torchrun', 'RANK', 'dist'),
    slurm=('srun', 'SLURM_PROCID', 'slurm'),
)
_SIOCGIFADDR = 0x8915  # Linux: the address of a network interface


def prepare_launcher(launcher: str) -> None:
    """Check the environment of a launcher, and prepare it.

    Without an accelerator, processes communicate through gloo. Each Slurm job
    gets its own port, unless MASTER_PORT is set.

    Args:
        launcher (str): Value of ``--launcher``.

    Raises:
        RuntimeError: If the launcher did not start this process.
    """
    if launcher in _STARTERS:
        command, variable, script = _STARTERS[launcher]
        if variable not in os.environ:
            raise RuntimeError(
                f'--launcher {launcher} needs the environment of {command}: '
                f'use tools/{script}_train.sh or tools/{script}_test.sh, or '
                f'`mim train mmdet_klrpn` with --launcher {launcher} --gpus N'
            )
    if launcher == 'slurm':
        names = 'SLURM_JOB_ID', 'SLURM_STEP_ID'
        job, step = (int(os.environ.get(name, 0)) for name in names)
        os.environ.setdefault('MASTER_PORT', str(job_port(job, step)))
    if get_device() == 'cpu':
        # Patch names in the runner's module: no config can replace the second
        # and keep find_unused_parameters.
        mmengine.runner.runner.init_dist = _init_dist_on_cpu
        mmengine.runner.runner.MMDistributedDataParallel = (
            _CPUDistributedDataParallel
        )


def job_port(job: int, step: int = 0) -> int:
    """Port of a job step; mmengine's is the same for all jobs of a node.

    The prime factor separates steps of jobs with close ids. The ports are
    below those that Linux uses for outgoing connections.
    """
    return 10000 + (211 * job + step) % 20000


def _init_dist_on_cpu(launcher: str, backend: str = '', **kwargs) -> None:
    """Initialise as mmengine does, but with gloo and no CUDA device."""
    # mmengine would set a device as soon as MASTER_ADDR is known.
    with patch.object(torch.cuda, 'set_device', _set_interface):
        init_dist(launcher, backend='gloo', **kwargs)


def _set_interface(local_rank: int) -> None:
    """Let gloo use the interface that leads to the first process.

    By default gloo uses the interface of the host's name, often the loopback
    interface in /etc/hosts: other hosts could not connect, and would wait.
    """
    interface = interface_to(os.environ['MASTER_ADDR'])
    if interface is not None:
        os.environ.setdefault('GLOO_SOCKET_IFNAME', interface)


def interface_to(host: str) -> Optional[str]:
    """Find the network interface that leads to a name or address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with suppress(OSError):
            probe.connect((host, 1))  # looks up the route and sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                request = struct.pack('256s', name.encode())
                with suppress(OSError):  # an interface without an address
                    reply = fcntl.ioctl(probe, _SIOCGIFADDR, request)
                    if socket.inet_ntoa(reply[20:24]) == own:
                        return name
    return None


class _CPUDistributedDataParallel(MMDistributedDataParallel):
    """DDP without the device ids that mmengine passes."""

    def __init__(self, module: nn.Module, device_ids: list, **kwargs) -> None:
        super().__init__(module=module, **kwargs)
