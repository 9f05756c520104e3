"""What ``torch.use_deterministic_algorithms(True)`` refuses on CUDA.

Found on the CPU, by name: PyTorch checks where a CUDA kernel is called.
"""

import traceback

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Those of which the documentation of torch.use_deterministic_algorithms in
# PyTorch 2.1 says that they "will throw a RuntimeError", by the operators that
# raise it (callers of alertNotDeterministic). Later versions refuse no others.
REFUSED = {
    'aten::_adaptive_avg_pool2d_backward',
    'aten::_adaptive_avg_pool3d_backward',
    'aten::_ctc_loss_backward',
    'aten::_upsample_bicubic2d_aa_backward',
    'aten::_upsample_bilinear2d_aa_backward',
    'aten::adaptive_max_pool2d_backward',
    'aten::avg_pool3d_backward',
    'aten::fractional_max_pool2d_backward',
    'aten::fractional_max_pool3d_backward',
    'aten::grid_sampler_2d_backward',
    'aten::grid_sampler_3d_backward',
    'aten::histc',
    'aten::index_reduce',
    'aten::index_reduce_',
    'aten::kthvalue',
    'aten::max_pool3d_with_indices_backward',
    'aten::max_unpool2d',
    'aten::max_unpool3d',
    'aten::nll_loss2d_forward',
    'aten::put',
    'aten::put_',
    'aten::reflection_pad1d_backward',
    'aten::reflection_pad2d_backward',
    'aten::reflection_pad3d_backward',
    'aten::replication_pad1d_backward',
    'aten::replication_pad2d_backward',
    'aten::replication_pad3d_backward',
    'aten::upsample_bicubic2d_backward',
    'aten::upsample_bilinear2d_backward',
    'aten::upsample_linear1d_backward',
    'aten::upsample_trilinear3d_backward',
    # torchvision 0.16 checks likewise.
    'torchvision::_deform_conv2d_backward',
    'torchvision::_ps_roi_align_backward',
    'torchvision::_ps_roi_pool_backward',
    'torchvision::_roi_align_backward',
    'torchvision::_roi_pool_backward',
}


def _of_floats(x, *args, dtype=None, **kwargs):
    dtype = dtype or x.dtype
    return dtype.is_floating_point or dtype.is_complex


def _to_rows(x, index, values, accumulate=False):
    """One number to whole rows: an internal assertion of PyTorch 2.1 fails.

    See https://github.com/pytorch/pytorch/issues/96724. Masks are spared.
    """
    index = [each for each in index if each is not None]
    dims = sum(i.dim() if i.dtype == torch.bool else 1 for i in index)
    is_mask = len(index) == 1 and index[0].dtype == torch.bool
    return values.numel() == 1 and dims < x.dim() and not is_mask


# Those that are refused for some arguments only.
CONDITIONS = {
    'aten::_embedding_bag_dense_backward': lambda *args: args[7] == 2,  # max
    'aten::bincount': lambda x, weights=None, *args: weights is not None,
    'aten::cumsum': _of_floats,
    'aten::cumsum_': _of_floats,
    'aten::index_put': _to_rows,
    'aten::index_put_': _to_rows,
    'aten::median': lambda x, *dim, **kwargs: bool(dim or kwargs),
    'aten::nanmedian': lambda x, *dim, **kwargs: bool(dim or kwargs),
    'aten::scatter_reduce': lambda *args, **kwargs: 'prod' in args,
    'aten::scatter_reduce_': lambda *args, **kwargs: 'prod' in args,
}


class RefusedOperations(TorchDispatchMode):
    """Finds them in what runs within it, the backward pass included.

    Attributes:
        found (dict[str, str]): Where each came from: a node of the graph whose
            backward it is part of, or else a line of code.
        seen (set[str]): Every operation.
    """

    def __init__(self):
        super().__init__()
        self.found, self.seen = {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name, kwargs or {}
        self.seen.add(name)
        if name in REFUSED or (
            name in CONDITIONS and CONDITIONS[name](*args, **kwargs)
        ):
            self.found[name] = _origin()
        return func(*args, **kwargs)


def _origin():
    node = torch._C._current_autograd_node()
    if node is not None:
        return node.name()
    lines = [
        f'{frame.filename}:{frame.lineno}'
        for frame in traceback.extract_stack()
        if '/torch/' not in frame.filename and frame.filename != __file__
    ]
    return lines[-1]
