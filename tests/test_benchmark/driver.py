"""Runs commands of a shell as a benchmark's jobs: a process to be signalled.

python driver.py WORK_DIR local|slurm GPUS COMMAND [COMMAND ...]
"""

import sys
from pathlib import Path

from mmdet_klrpn.benchmark import queues
from mmdet_klrpn.benchmark.jobs import work
from mmdet_klrpn.benchmark.tasks import Job, Step

work_dir, launcher, gpus = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
queues.SECONDS_BETWEEN_CALLS = 0.5
found = []
for seed, command in enumerate(sys.argv[4:]):
    folder = work_dir / 'd' / f'seed{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    step = Step('measuring', ['bash', '-c', command])
    found.append(Job(f'd, seed {seed}', folder, (step,), gpus))
options = dict(partition='tests', time='7', comment='mine')
if launcher == 'local':
    queue = queues.LocalQueue(1, 2)
else:
    queue = queues.SlurmQueue(gpus, options)
    queue.patience = 2
failed = work(queue, found)
print('failed:', *(job.name for job in failed))
