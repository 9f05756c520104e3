"""Count what functions ask of a device, time them in turns, print tables."""

import platform
import time
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Callable, Dict, Iterator, List, Sequence
from unittest.mock import patch

import mmcv
import mmdet
import torch
import torchvision
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils import benchmark
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torchvision.ops import boxes as tv_boxes

from mmdet_klrpn.models.dense_heads import sparse_nms

# Besides views, which their schemas tell.
_LAUNCH_NOTHING = (
    *('_unsafe_view', 'empty', 'empty_like', 'empty_strided', 'is_same_size'),
    *('new_empty', 'new_empty_strided', 'resize_', 'scalar_tensor'),
)
# Their result is a number, or has a size, that the host asks for.
_WAIT = (
    *('_local_scalar_dense', '_unique2', 'bincount', 'equal', 'nonzero'),
    *('masked_select', 'nms', 'unique_consecutive', 'unique_dim'),
)


class Operations(TorchDispatchMode):
    """What is asked of a device within it, as PyTorch's dispatcher sees it.

    Attributes:
        launches (int): Operations that launch work: all but views and
            allocations.
        backward (int): Those of them that compute gradients.
        waits (int): Those whose result the host has to wait for.
        bytes (int): Sizes of the tensors that they are given and return.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.backward = self.waits = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result, name = func(*args, **kwargs), func._schema.name.split(':')[-1]
        aliases = [x.alias_info for x in func._schema.returns]
        is_view = any(x is not None and not x.is_write for x in aliases)
        if not is_view and name not in _LAUNCH_NOTHING:
            self.launches += 1
            self.backward += torch._C._current_autograd_node() is not None
            self.waits += _waits(name, args, kwargs)
            self.bytes += sum(
                x.numel() * x.element_size()
                for x in tree_flatten((args, kwargs, result))[0]
                if isinstance(x, Tensor)
            )
        return result


def _waits(name: str, args: tuple, kwargs: dict) -> bool:
    if name.startswith(('index', '_index')) and isinstance(args[1], list):
        is_mask = any(x is not None and x.dtype == torch.bool for x in args[1])
        # A single value that is put makes it a masked_fill.
        return is_mask and not (len(args) > 2 and args[2].numel() == 1)
    if name == 'repeat_interleave':
        return kwargs.get('output_size') is None
    return name in _WAIT


class _Reads(TorchFunctionMode):
    """Copies to the host, of which the dispatcher does not hear on a CPU."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_read = func in (Tensor.tolist, Tensor.numpy, Tensor.cpu)
        # What has been copied without blocking is on the host by then.
        is_here = is_read and hasattr(args[0], '_on_host')
        self.operations.waits += is_read - is_here
        result = func(*args, **kwargs)
        if func is Tensor.to and kwargs.get('non_blocking'):
            result._on_host = True
        return result


@contextmanager
def counting() -> Iterator[Operations]:
    """Count, while heads take the paths on a CPU that they take on a GPU."""
    counts, trick = Operations(), tv_boxes._batched_nms_coordinate_trick
    serial = patch.object(sparse_nms, '_SERIAL_DEVICES', ())
    vanilla = patch.object(tv_boxes, '_batched_nms_vanilla', trick)
    with serial, vanilla, _Reads(counts), counts:
        yield counts


def peak_memory(function: Callable, device: str = 'cpu') -> float:
    """Most memory of tensors in use at once, beyond that before, in MB."""
    if device != 'cpu':
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    # The profiler hears of every allocation and release by torch.
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    changes = [x.nbytes() for x in events if x.name() == '[memory]']
    return max(accumulate(changes, initial=0)) / 1e6


def clock(device: str) -> Callable[[], float]:
    """CPU time of the process, or the time by when a GPU is done."""
    return time.process_time if device == 'cpu' else benchmark.timer


def take_turns(
    functions: Dict[str, Callable], turns: int, device: str = 'cpu'
) -> Dict[str, List[float]]:
    """Milliseconds of functions, called in turns, of each in every turn."""
    threads = dict(timer=clock(device), num_threads=torch.get_num_threads())
    found = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            timer = benchmark.Timer('f()', globals={'f': function}, **threads)
            result = timer.blocked_autorange(min_run_time=0.1)
            found[name].append(1e3 * result.mean)
    return found


def compare(turns: Dict[str, List[float]], base: str) -> List[str]:
    """Milliseconds of each, and how many times faster than the base it is."""
    cells = []
    for name, row in turns.items():
        cells.append(figure(median(row)))
        if base in turns and name != base:
            ratio = median(x / y for x, y in zip(turns[base], row))
            cells[-1] += f' ({figure(ratio)}x)'
    return cells


def figure(x: float) -> str:
    """Three digits."""
    return f'{x:.3g}' if x < 999.5 else f'{x:,.0f}'


def environment(device: str) -> str:
    """Where numbers come from."""
    if device == 'cpu':
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        model = next((x for x in lines if x.startswith('model name')), ':')
        model = model.split(':')[1].strip() or platform.machine()
        processor = f'CPU: {model}, {torch.get_num_threads()} thread(s)'
    else:
        processor = f'GPU: {torch.cuda.get_device_name()}'
    modules = (torch, torchvision, mmcv, mmdet)
    versions = [f'{x.__name__} {x.__version__}' for x in modules]
    versions = ', '.join([f'Python {platform.python_version()}', *versions])
    return f'{processor}. {versions}.'


def render(title: str, head: Sequence[str], rows: List[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
    return f'{title}\n\n{table}'


def write(path: Path, name: str, text: str) -> None:
    """Replace the part of a page between the marks of that name."""
    begin, end = f'<!-- measured: {name} -->', f'<!-- end: {name} -->'
    page = path.read_text()
    if begin not in page:
        page += f'\n{begin}\n{end}\n'
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    path.write_text(f'{before}{begin}\n\n{text}\n\n{end}{after}')
