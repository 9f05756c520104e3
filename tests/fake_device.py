"""A device that is not the CPU, on a machine that has no other.

Tensors that claim to lie on a GPU compute on the CPU. What CUDA would refuse
is refused: operations on tensors of both devices. What it would be slow at is
counted: copies between host and device, and operations whose result the host
has to wait for.
"""

from collections import Counter

import mmcv._ext
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

# Operations whose output has a size, or is a number, that the host asks for.
_WAITING = (
    'aten::_local_scalar_dense',
    'aten::_unique2',
    'aten::bincount',
    'aten::equal',
    'aten::masked_select',
    'aten::nonzero',
    'aten::unique_consecutive',
    'aten::unique_dim',
    'torchvision::nms',
)
# They read a tensor on the CPU without any operation.
_READERS = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
# Beyond pointwise operations, those that take a number from the CPU.
_TAKE_NUMBERS = (
    'aten::fill_',
    'aten::index_put_',
    'aten::masked_fill',
    'aten::masked_fill_',
)


class DeviceTensor(Tensor):
    """A tensor that claims to lie on a :class:`FakeDevice`."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_cpu, is_cuda = False, True

    @staticmethod
    def __new__(cls, inner, owner):
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
        )

    def __init__(self, inner, owner):
        self.inner = inner
        self.owner = owner

    def __repr__(self):
        return f'DeviceTensor({self.inner})'

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    @property
    def device(self):
        return self.owner.device

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        tensors = _tensors(args, kwargs)
        owner = next(x.owner for x in tensors if isinstance(x, cls))
        with torch._C.DisableTorchFunction():
            owner.note(func, args, kwargs or {})
            return owner.run(func, args, kwargs or {})


class FakeDevice(TorchFunctionMode):
    """Within it there is a GPU, which counts what happens to its tensors.

    Attributes:
        device (torch.device): What its tensors say that they lie on.
        waits (Counter): Times that the host waited for a result, by operation.
        uploads (Counter): Copies from the host, by function. The host waits
            for these too, unless their memory is pinned.
    """

    device = torch.device('cuda', 0)

    def __init__(self):
        super().__init__()
        self.reset()

    def reset(self):
        """Count from 0 again."""
        self.waits, self.uploads = Counter(), Counter()

    def __enter__(self):
        # Kernels of mmcv read memory, for which there is no dispatcher.
        self._kernels = {
            name: kernel
            for name, kernel in vars(mmcv._ext).items()
            if callable(kernel) and not name.startswith('_')
        }
        for name, kernel in self._kernels.items():
            setattr(mmcv._ext, name, self._wrapped(name, kernel))
        return super().__enter__()

    def __exit__(self, *args):
        for name, kernel in self._kernels.items():
            setattr(mmcv._ext, name, kernel)
        return super().__exit__(*args)

    def put(self, value):
        """What is given, on the device.

        Args:
            value: A module, which is changed, or tensors and instances in any
                nest of lists and dicts, which are copied.
        """
        if isinstance(value, nn.Module):
            for module in value.modules():
                for name, x in module._parameters.items():
                    if x is not None:
                        x = nn.Parameter(self.put(x.detach()), x.requires_grad)
                    module._parameters[name] = x
                for name, x in module._buffers.items():
                    module._buffers[name] = self.put(x)
            return value
        return tree_map(self._put, value)

    def _put(self, x):
        if isinstance(x, Tensor):
            return DeviceTensor(x.clone(), self)
        if isinstance(x, BaseDataElement):
            with self:
                return x.to(self.device)
        return x

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return self._to(func, *args, **kwargs)
        is_here = bool(args) and isinstance(args[0], DeviceTensor)
        if func in _READERS and is_here:
            if func is not Tensor.tolist:
                raise TypeError('a GPU tensor has no numpy(): copy it first')
            self.waits['tolist'] += 1
            return args[0].inner.tolist()
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            return self._to(Tensor.to, *args, **kwargs)
        from_data = func in (torch.tensor, torch.as_tensor, Tensor.new_tensor)
        device = kwargs.pop('device', None)
        # Both make tensors without asking the dispatcher.
        is_new = func in (Tensor.new, Tensor.new_tensor) and is_here
        if device is None and not is_new:
            return func(*args, **kwargs)
        to_here = is_here if device is None else _is_gpu(device)
        if from_data and to_here:
            self.uploads[func.__name__] += 1
        return self._moved(func(*args, **kwargs), to_here)

    def _to(self, func, x, *args, **kwargs):
        """Any form of ``to``, ``cuda`` and ``cpu``."""
        args = list(args)
        device = kwargs.pop('device', kwargs.pop('other', None))
        if args and isinstance(args[0], (str, torch.device, Tensor)):
            device = args.pop(0)
        if func is not Tensor.to:
            args, device = [], func.__name__
        if isinstance(device, Tensor):
            args, device = [device.dtype, *args], device.device
        here = isinstance(x, DeviceTensor)
        to_here = here if device is None else _is_gpu(device)
        non_blocking = kwargs.pop('non_blocking', False)
        if args or kwargs:
            x = x.to(*args, **kwargs)
        if to_here and not here:
            self.uploads[func.__name__] += 1
        if here and not to_here:
            # Without blocking, the copy ends by the next wait.
            self.waits[func.__name__] += not non_blocking
        return self._moved(x, to_here)

    def _moved(self, x, to_here):
        if isinstance(x, DeviceTensor) == to_here:
            return x
        is_leaf = x.requires_grad
        if is_leaf and not x.is_leaf:
            raise NotImplementedError('a gradient between devices')
        x = x.detach()
        moved = DeviceTensor(x, self) if to_here else x.inner
        return moved.requires_grad_(is_leaf)

    def note(self, func, args, kwargs):
        """Count what an operation costs, and refuse a mixture of devices."""
        name, flat = func._schema.name, _tensors(args, kwargs)
        on_host = [x for x in flat if not isinstance(x, DeviceTensor)]
        if name == 'aten::copy_' and on_host:
            to_host = args[0] is on_host[0]
            (self.waits if to_host else self.uploads)['copy_'] += 1
            return
        if name.startswith('aten::index') and isinstance(args[1], list):
            on_host = self._note_index(name, *args[:3])
        if torch.Tag.pointwise in func.tags or name in _TAKE_NUMBERS:
            on_host = [x for x in on_host if x.dim() > 0]
        if on_host:
            raise RuntimeError(
                f'{name} mixes devices: its tensors of shapes '
                f'{[tuple(x.shape) for x in on_host]} are on the CPU'
            )
        self.waits[name] += name in _WAITING
        if name == 'aten::repeat_interleave':
            self.waits[name] += kwargs.get('output_size') is None

    def _note_index(self, name, x, index, value=None):
        """Note indexing; returns what must not be on the host."""
        index = [each for each in index if each is not None]
        masks = [i for i in index if i.dtype in (torch.bool, torch.uint8)]
        value_on_host = value is not None and type(value) is Tensor
        # A mask and a number from the host make it a masked_fill.
        if masks and not (value_on_host and value.dim() == 0):
            self.waits[f'{name} by a mask'] += 1
        if not isinstance(x, DeviceTensor):
            return [x]
        self.uploads[name] += sum(type(each) is Tensor for each in index)
        return [value] if value_on_host else []

    def run(self, func, args, kwargs):
        """Compute on the CPU; what is changed in place stays what it is."""
        known = {id(_inner(x)): x for x in _tensors(args, kwargs)}
        args, kwargs = tree_map(_inner, (args, kwargs))
        return tree_map(
            lambda x: known.get(id(x), DeviceTensor(x, self))
            if isinstance(x, Tensor)
            else x,
            func(*args, **kwargs),
        )

    def _wrapped(self, name, kernel):
        def call(*args, **kwargs):
            tensors = _tensors(args, kwargs)
            here = {isinstance(x, DeviceTensor) for x in tensors}
            if True not in here:
                return kernel(*args, **kwargs)
            if False in here:
                raise RuntimeError(f'{name} mixes devices')
            self.waits[name] += name == 'nms'
            return self.run(kernel, args, kwargs)

        return call


def _is_gpu(device):
    return torch.device(device).type != 'cpu'


def _inner(x):
    return x.inner if isinstance(x, DeviceTensor) else x


def _tensors(args, kwargs):
    return [
        x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)
    ]
