"""A Slurm of one node for the time of a test, without root or systemd.

It listens on the loopback interface, at free ports, and keeps its files in a
folder of its own: several can run on one machine.
"""

import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

from processes import (
    end_processes,
    free_port,
    require_programs,
    start,
    wait_until,
    without_gpu,
)

PARTITION = 'tests'
# mmengine asks for the address of a job's first node by its name. The cores
# and the GPUs, empty files, are more than there are: Slurm counts them only.
SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=15
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=32 Gres=gpu:8
PartitionName={partition} Nodes=ALL Default=YES
"""
GRES_CONF = 'NodeName=localhost Name=gpu File={folder}/gpu[0-7]\n'
DAEMONS = (
    'munged --foreground --force --key-file={folder}/munge.key'
    ' --socket={folder}/munge.socket --pid-file={folder}/munge.pid'
    ' --log-file={folder}/munge.log --seed-file={folder}/munge.seed',
    'slurmctld -D',
    'slurmd -D',
)


class Slurm:
    """A running Slurm.

    Attributes:
        env (dict): Environment in which its commands find it.
    """

    def __init__(self, folder):
        self.env = without_gpu(SLURM_CONF=f'{folder}/slurm.conf')

    def call(self, *command):
        """What a command of Slurm's prints."""
        result = subprocess.run(
            command,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return result.stdout

    def job(self, name):
        """Fields of the newest job of a name, or none."""
        text = self.call('scontrol', 'show', 'job', '--oneliner')
        for line in reversed(text.splitlines()):
            words = (word.split('=', 1) for word in line.split())
            fields = dict(word for word in words if len(word) == 2)
            if fields.get('JobName') == name:
                return fields
        return {}


@contextmanager
def running_slurm():
    """Start a Slurm, and leave neither a process nor a file of it."""
    require_programs('munge slurm-wlm', 'munged', 'slurmctld', 'slurmd')
    # Not pytest's folder, whose path can be too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix='slurm-'))
    daemons = []
    try:
        configure(folder)
        slurm = Slurm(folder)
        for i, command in enumerate(DAEMONS):
            words = shlex.split(command.format(folder=folder))
            log = folder / f'{words[0]}.out'
            daemons.append(start(*words, log=log, env=slurm.env))
            if i == 0:
                wait_until((folder / 'munge.socket').exists, 30)
        wait_until(lambda: 'idle' in slurm.call('sinfo', '-h', '-o', '%T'), 60)
        yield slurm
    finally:
        for log in folder.glob('*.out'):  # which pytest shows with a failure
            print(log.name, log.read_text())
        end_processes(daemons, 'SLURM_CONF', folder / 'slurm.conf')
        shutil.rmtree(folder)


def configure(folder):
    """Write what the daemons read."""
    (folder / 'munge.key').write_bytes(secrets.token_bytes(128))
    (folder / 'munge.key').chmod(0o400)
    facts = dict(
        folder=folder,
        host=socket.gethostname().split('.')[0],
        ports=[free_port(), free_port()],
        user=getuser(),
        partition=PARTITION,
    )
    (folder / 'slurm.conf').write_text(SLURM_CONF.format(**facts))
    (folder / 'gres.conf').write_text(GRES_CONF.format(**facts))
    # Later versions than 22.05 look for systemd even if nothing needs it.
    (folder / 'cgroup.conf').write_text('IgnoreSystemd=yes\n')
    for name in ('state', 'spool'):
        (folder / name).mkdir()
    for i in range(8):
        (folder / f'gpu{i}').touch()
