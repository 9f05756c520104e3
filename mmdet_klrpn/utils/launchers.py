"""What mmengine's launchers lack: hosts without a GPU, ports of Slurm jobs."""

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

# The command that starts a launcher's processes, a variable that it sets, and
# the scripts that call it.
_STARTERS = dict(
    pytorch=('torchrun', 'RANK', 'dist'),
    slurm=('srun', 'SLURM_PROCID', 'slurm'),
)
_SIOCGIFADDR = 0x8915  # Linux: the address of a network interface


def prepare_launcher(launcher: str) -> None:
    """Check the environment of a launcher, and complete what mmengine does.

    Without an accelerator, processes then communicate through gloo. Those of
    each Slurm job meet at a port of their own, unless MASTER_PORT is set.

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
        # They are named in the runner's module. No config can replace the
        # second without losing find_unused_parameters.
        mmengine.runner.runner.init_dist = _init_dist_on_cpu
        mmengine.runner.runner.MMDistributedDataParallel = (
            _CPUDistributedDataParallel
        )


def job_port(job: int, step: int = 0) -> int:
    """Port for a job step; mmengine's would be that of all jobs of a node.

    The factor is a prime, so that steps of jobs with close ids differ too. The
    ports are below those that Linux gives to outgoing connections.
    """
    return 10000 + (211 * job + step) % 20000


def _init_dist_on_cpu(launcher: str, backend: str = '', **kwargs) -> None:
    """Mmengine's, through gloo and without a CUDA device."""
    # It would set one as soon as MASTER_ADDR is known.
    with patch.object(torch.cuda, 'set_device', _set_interface):
        init_dist(launcher, backend='gloo', **kwargs)


def _set_interface(local_rank: int) -> None:
    """Let gloo use the interface that leads to the first process.

    By itself it uses that of the host's name, which in many an /etc/hosts is
    the loopback interface: other hosts could not connect, and would wait.
    """
    interface = interface_to(os.environ['MASTER_ADDR'])
    if interface is not None:
        os.environ.setdefault('GLOO_SOCKET_IFNAME', interface)


def interface_to(host: str) -> Optional[str]:
    """Network interface that leads to a name or address, if that is clear."""
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
    """Without the device ids that mmengine passes, which a CPU has not."""

    def __init__(self, module: nn.Module, device_ids: list, **kwargs) -> None:
        super().__init__(module=module, **kwargs)
