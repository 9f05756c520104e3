"""Processes that tests start, and what the machine must have for them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

# Where Debian has the programs that administrators use.
PATH = f'{os.environ["PATH"]}:/usr/sbin:/sbin'


def unavailable(reason):
    """Skip a test for a reason, which fails it in continuous integration."""
    if os.environ.get('CI'):
        pytest.fail(reason)
    pytest.skip(reason)


def require_programs(package, *names):
    """Go on only where the programs of a Debian package are installed."""
    missing = [name for name in names if not shutil.which(name, path=PATH)]
    if missing:
        unavailable(f'no {", ".join(missing)}: apt-get install {package}')


def free_port():
    """A port of the loopback interface that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def without_gpu(**env):
    """Environment that hides GPUs and finds this Python as `python`."""
    return {
        **os.environ,
        'PATH': f'{os.path.dirname(sys.executable)}:{PATH}',
        'CUDA_VISIBLE_DEVICES': '',
        'OMP_NUM_THREADS': '1',
        **env,
    }


def start(*command, log, env):
    """Start a command in the background, in a session of its own.

    Args:
        command: Its words.
        log (Path): File of what it prints.
        env (dict): Its environment.
    """
    with open(log, 'wb') as file:
        return subprocess.Popen(
            [str(word) for word in command],
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until(condition, seconds=180):
    """Wait for a condition, which fails the test if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.1)


def processes_with(name, value):
    """Ids of the processes whose environment has a variable of this value."""
    entry = f'{name}={value}'.encode()
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if entry in path.read_bytes().split(b'\0'):
                found.append(int(path.parent.name))
        except OSError:  # it has ended, or belongs to someone else
            continue
    return found


def end_processes(started, name, value):
    """End processes that were started, and all that have their variable."""
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for number in processes_with(name, value):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    wait_until(lambda: not processes_with(name, value), 20)
