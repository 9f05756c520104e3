"""The dense part of a detector, for runtimes other than PyTorch."""

from .dense_outputs import HeadOutputs, ImageOutputs, find_kl_rpn
from .description import describe
from .onnx_export import check_onnx, export_onnx

__all__ = [
    'HeadOutputs',
    'ImageOutputs',
    'check_onnx',
    'describe',
    'export_onnx',
    'find_kl_rpn',
]
