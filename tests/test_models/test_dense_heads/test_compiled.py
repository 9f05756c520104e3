"""The compiled head: no graph break, and eager's values and gradients."""

import pytest
import torch
from test_kl_rpn_head import build_head

BACKEND = 'aot_eager'  # traces and differentiates, without a C++ compiler


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def outputs(head, maps):
    logits, offsets = head(maps)
    return (*map(head.log_variances, logits), *offsets)


def gradients(function, head, maps):
    """Values, and gradients of their weighted sum by parameters and maps."""
    maps = [x.clone().requires_grad_() for x in maps]
    values = function(head, maps)
    total = sum(
        (value * torch.linspace(-1, 1, value.numel()).view_as(value)).sum()
        for value in values
    )
    grads = torch.autograd.grad(total, [*head.parameters(), *maps])
    return [*values, *grads]


def maps_of(batch, *sizes):
    return [torch.randn(batch, 8, *size) for size in sizes]


@pytest.mark.parametrize(('num_stds', 'levels'), [(1, 2), (4, 1), (4, 2)])
def test_equals_eager_at_every_size(num_stds, levels):
    head = build_head(num_stds=num_stds)
    compiled = torch.compile(
        outputs, backend=BACKEND, fullgraph=True, dynamic=True
    )
    for batch, *sizes in (
        (2, (5, 7), (3, 4)),
        (3, (9, 6), (2, 13)),
    ):
        maps = maps_of(batch, *sizes[:levels])
        pairs = zip(
            gradients(compiled, head, maps), gradients(outputs, head, maps)
        )
        for given, wanted in pairs:
            torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)


def test_traces_one_graph_for_all_sizes():
    head = build_head()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(
        outputs, backend=counter, fullgraph=True, dynamic=True
    )
    for batch, *sizes in ((2, (5, 7), (3, 4)), (3, (9, 6), (2, 13))):
        compiled(head, maps_of(batch, *sizes))
    assert counter.frame_count == 1


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_logits_keep_at_least_float32(dtype):
    head = build_head().to(dtype)
    compiled = torch.compile(outputs, backend=BACKEND, fullgraph=True)
    maps = [x.to(dtype) for x in maps_of(2, (5, 7), (3, 4))]
    for given, wanted in zip(compiled(head, maps), outputs(head, maps)):
        assert given.dtype == dtype
        torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)


def test_autocast_is_compiled_too():
    head = build_head()
    compiled = torch.compile(outputs, backend=BACKEND, fullgraph=True)
    maps = maps_of(2, (5, 7), (3, 4))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        given, wanted = compiled(head, maps), outputs(head, maps)
    for value, reference in zip(given, wanted):
        assert value.dtype == reference.dtype
        torch.testing.assert_close(value, reference)
