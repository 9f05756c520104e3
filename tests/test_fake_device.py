"""The double itself: what CUDA refuses, and what makes the host wait."""

import pytest
import torch
from fake_device import FakeDevice
from mmcv.ops import nms


@pytest.fixture
def fake():
    return FakeDevice()


def test_it_computes_what_the_cpu_does_and_says_where_it_is(fake):
    x = torch.arange(6.0).requires_grad_()
    y = fake.put(x.detach()).requires_grad_()
    with fake:
        z = torch.arange(6, device=y.device) * y.view(2, 3).t().reshape(-1)
        z.square().sum().backward()
        assert y.device == y.grad.device == z.device == fake.device
        assert (y.is_cuda, y.is_cpu) == (True, False)
        gradient = y.grad.cpu()
    (torch.arange(6) * x.view(2, 3).t().reshape(-1)).square().sum().backward()
    assert torch.equal(gradient, x.grad)


def test_what_is_changed_in_place_stays_what_it_is(fake):
    x = fake.put(torch.zeros(2, 2))
    with fake:
        row = x[0]
        assert row.add_(1) is row
        x[:, 1] = 5
        assert x.tolist() == [[1, 5], [0, 5]]


MIXTURES = [
    lambda here, there: here + there,
    lambda here, there: torch.cat([here, there]),
    lambda here, there: torch.stack([here.sum(), there.sum()]),
    lambda here, there: there[here.long()],
    lambda here, there: here.index_select(0, there.long()),
    lambda here, there: here.scatter_(0, here.long(), there),
    lambda here, there: here.__setitem__(here > 0, there[:2]),
    lambda here, there: torch.where(here > 0, here, there),
    lambda here, there: there + here.sum(),
    lambda here, there: nms(here.expand(4, 3).t(), there, 0.5),
]


@pytest.mark.parametrize('mixture', MIXTURES)
def test_tensors_of_two_devices_are_refused(fake, mixture):
    there = torch.arange(3.0)
    here = fake.put(there)
    with fake, pytest.raises(RuntimeError, match='mixes devices'):
        mixture(here, there)


def test_numbers_and_indices_from_the_host_are_not(fake):
    here, there = fake.put(torch.arange(3.0)), torch.tensor(1.0)
    with fake:
        assert torch.where(here > there, here * there, 0).tolist() == [0, 0, 2]
        here[here > 1] = 7
        assert here[torch.tensor([1, 2])].tolist() == [1, 7]
    assert +fake.uploads == {'aten::index': 1}
    assert +fake.waits == {'tolist': 2}


WAITS = [
    lambda x: x.sum().item(),
    lambda x: bool(x.any()),
    lambda x: [0] * 9 if x.sum() > 0 else [],
    lambda x: list(range(9))[x.sum().long()],
    lambda x: x.tolist(),
    lambda x: x.cpu(),
    lambda x: x.to('cpu'),
    lambda x: x.to(torch.zeros(1)),
    lambda x: torch.zeros(3).copy_(x),
    lambda x: x.nonzero(),
    lambda x: x[x > 0],
    lambda x: x.masked_select(x > 0),
    lambda x: x.unique(),
    lambda x: x.repeat_interleave(x.long()),
    lambda x: torch.equal(x, x),
    lambda x: nms(x.expand(4, 3).t(), x, 0.5),
]
UPLOADS = [
    lambda x: torch.tensor([1.0], device=x.device),
    lambda x: torch.as_tensor(1.0, device=x.device),
    lambda x: torch.as_tensor(torch.ones(1), device=x.device),
    lambda x: x.new_tensor(1.0),
    lambda x: torch.zeros(3).to(x),
    lambda x: torch.zeros(3).to(x.device, torch.long),
    lambda x: torch.zeros(3).cuda(),
    lambda x: x.copy_(torch.zeros(3)),
    lambda x: x[torch.tensor([0, 1])],
]
NEITHER = [
    lambda x: x.new_full((), 1.0),
    lambda x: torch.ones(3, device=x.device),
    lambda x: x.masked_fill(x > 1, 0),
    lambda x: x.__setitem__(x > 1, 0),
    lambda x: x.__setitem__(slice(2), 0),
    lambda x: x.to(torch.float64),
    lambda x: x.to(x.device),
    lambda x: x[x.long()],
    lambda x: x.repeat_interleave(x.long(), output_size=3),
    lambda x: x.topk(2)[0].sort()[0].cumsum(0),
]


@pytest.mark.parametrize(
    ('action', 'waits', 'uploads'),
    [
        *((action, 1, 0) for action in WAITS),
        *((action, 0, 1) for action in UPLOADS),
        *((action, 0, 0) for action in NEITHER),
    ],
)
def test_waits_and_copies_are_counted(fake, action, waits, uploads):
    x = fake.put(torch.arange(3.0))
    with fake:
        action(x)
    assert sum(fake.waits.values()) == waits, fake.waits
    assert sum(fake.uploads.values()) == uploads, fake.uploads


def test_it_leaves_no_trace(fake):
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 8, 9]])
    with fake:
        here = nms(fake.put(boxes), fake.put(torch.ones(2)), 0.5)[1]
        with pytest.raises(TypeError, match='copy it first'):
            here.numpy()
    assert nms(boxes, torch.ones(2), 0.5)[1].numpy() == here.inner.numpy()
