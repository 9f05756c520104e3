"""Export to ONNX through TorchDynamo, with any batch and image size."""

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Dict, List, Optional, Sequence
from unittest import mock

import torch
from torch import Tensor, nn

# Tolerances: ONNX Runtime fuses and reorders float32 sums.
TOLERANCE = dict(rtol=1e-3, atol=1e-4)
_TORCH_INTERPOLATE = nn.functional.interpolate
REMEDY = 'python -m pip install -r requirements/deploy.txt'


def export_onnx(
    module: nn.Module, out: Path, metadata: Optional[dict] = None
) -> None:
    """Write an ONNX model whose batch, heights and widths are dynamic.

    Uses TorchDynamo, not TorchScript. The graph has no functions.

    Args:
        module (nn.Module): HeadOutputs or ImageOutputs, on the CPU in float32.
        out (Path): The file to write.
        metadata (dict, optional): Stored as JSON under the key ``kl_rpn``.

    Raises:
        ImportError: If onnx or onnxscript is missing.
        RuntimeError: If this torch lacks the exporter, or the exporter an
            operator.
    """
    onnx = _require('onnx')
    _require('onnxscript')
    if not hasattr(torch.onnx, 'dynamo_export'):
        raise RuntimeError(
            f'torch {torch.__version__} has no torch.onnx.dynamo_export: '
            'use the torch of requirements/runtime.txt'
        )
    module = module.eval()
    model = _trace(module)
    model = onnx.inliner.inline_local_functions(model)
    _rename(model.graph, module.input_names, module.output_names)
    _name_dimensions(model.graph)
    if metadata is not None:
        values = dict(kl_rpn=json.dumps(metadata))
        onnx.helper.set_model_props(model, values)
    onnx.checker.check_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(out))


def check_onnx(out: Path, module: nn.Module) -> float:
    """Run a written model in ONNX Runtime at sizes it was not traced with.

    The sizes are a larger batch of larger maps, and a single image.

    Args:
        out (Path): The file.
        module (nn.Module): The exported module.

    Returns:
        float: The largest absolute difference of any output.

    Raises:
        ImportError: If onnxruntime is missing.
        AssertionError: If an output differs.
    """
    runtime = _require('onnxruntime')
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # not what it cannot fold in advance
    session = runtime.InferenceSession(
        str(out), options, providers=['CPUExecutionProvider']
    )
    worst = 0.0
    for scale, batch in ((2, None), (3, 1)):
        sizes = module.example_sizes(scale)
        inputs = [torch.randn(size)[:batch] for size in sizes]
        with torch.no_grad():
            wanted = module(*inputs)
        feed = dict(zip(module.input_names, (x.numpy() for x in inputs)))
        given = session.run(module.output_names, feed)
        for name, value, reference in zip(module.output_names, given, wanted):
            value = torch.from_numpy(value)
            torch.testing.assert_close(
                value,
                reference,
                **TOLERANCE,
                msg=lambda text, name=name: f'{name}: {text}',
            )
            worst = max(worst, (value - reference).abs().max().item())
    return worst


def _trace(module: nn.Module) -> 'onnx.ModelProto':  # noqa: F821
    """The exporter's own model."""
    inputs = [torch.zeros(size) for size in module.example_sizes()]
    options = torch.onnx.ExportOptions(dynamic_shapes=True)
    try:
        with warnings.catch_warnings(), mock.patch(
            'torch.nn.functional.interpolate', _interpolate
        ):
            warnings.simplefilter('ignore')  # one for each parameter
            program = torch.onnx.dynamo_export(
                module, *inputs, export_options=options
            )
    except torch.onnx.OnnxExporterError as error:
        reason = ' '.join(str(error.__cause__ or error).split())
        raise RuntimeError(
            f'the exporter cannot take this model: {reason}'
        ) from error
    return program.model_proto


def _interpolate(
    maps: Tensor,
    size: Optional[Sequence[int]] = None,
    *args,
    mode: str = 'nearest',
    **kwargs,
) -> Tensor:
    """Nearest upsampling to a size, as in necks, traceable for any size.

    torch 2.1 traces its own function to a quotient of two sizes, for which its
    exporter has no operator. Other modes and factors use torch's own.
    """
    if mode != 'nearest' or size is None or maps.dim() != 4:
        return _TORCH_INTERPOLATE(maps, size, *args, mode=mode, **kwargs)
    for dim, new in zip((2, 3), size):
        # Exact in float32: the product is below 2^24, the quotient rounded.
        places = torch.arange(new, dtype=torch.float32, device=maps.device)
        places = (places * maps.shape[dim] / new).long()
        maps = maps.index_select(dim, places)
    return maps


def _rename(
    graph: 'onnx.GraphProto',  # noqa: F821
    inputs: List[str],
    outputs: List[str],
) -> None:
    """Give a graph's inputs and outputs names."""
    old = [value.name for value in (*graph.input, *graph.output)]
    names = dict(zip(old, (*inputs, *outputs)))
    assert len(names) == len(inputs) + len(outputs)
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
    _rename_in_nodes(graph, names)
    # Sizes in between are those of the trace, in places not even dynamic.
    del graph.value_info[:]


def _rename_in_nodes(
    graph: 'onnx.GraphProto',  # noqa: F821
    names: Dict[str, str],
) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField('g'):
                _rename_in_nodes(attribute.g, names)


def _name_dimensions(graph: 'onnx.GraphProto') -> None:  # noqa: F821
    """Name the batch, the heights and the widths, which are dynamic."""
    for value in (*graph.input, *graph.output):
        level = value.name.rpartition('_')[2]
        end = f'_{level}' if level.isdigit() else ''
        dims = value.type.tensor_type.shape.dim
        batch, channels, height, width = dims
        # The exporter writes an input's fixed number as a name.
        channels.dim_value = int(channels.dim_param or channels.dim_value)
        batch.dim_param = 'batch'
        height.dim_param, width.dim_param = f'height{end}', f'width{end}'


def _require(name: str) -> object:
    """A package that only this needs."""
    try:
        package = import_module(name)
        if name == 'onnx':
            import_module('onnx.inliner')
    except ImportError as error:
        raise ImportError(
            f'the export to ONNX needs {name} ({error}): {REMEDY}'
        ) from error
    return package
