"""The benchmark of region proposal heads: its instruments, then itself."""

import sys

import pytest
import torch
from conftest import ROOT, load_tool, run
from fake_device import FakeDevice


@pytest.fixture(scope='module')
def tool():
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    tool = load_tool('benchmarks/rpn_heads.py')
    tool.register_all_modules(init_default_scope=True)
    yield tool
    sys.path.remove(str(ROOT / 'benchmarks'))


def counts(tool, function):
    with tool.instruments.counting() as found:
        function()
    return found


def test_operations_that_launch_work(tool):
    x = torch.ones(100, requires_grad=True)

    def function():
        (2 * x.view(10, 10)[1:].T).sum().backward()

    found = counts(tool, function)
    # Two, the gradient to start from, and those of the product and the slice.
    assert (found.launches, found.backward) == (5, 2)


def test_bytes_are_those_of_inputs_and_outputs(tool):
    x, index = torch.zeros(100), torch.zeros(10, dtype=torch.long)
    found = counts(tool, lambda: x.index_select(0, index))
    assert found.bytes == 100 * 4 + 10 * 8 + 10 * 4


@pytest.mark.parametrize(
    ('function', 'waits'),
    [
        (lambda x: x[x > 0], 1),
        (lambda x: x.masked_fill(x > 0, 1), 0),
        (lambda x: x.clone().__setitem__(x > 0, 1), 0),
        (lambda x: x.tolist(), 1),
        (lambda x: float(x.sum()), 1),
        (lambda x: bool(x.any()), 1),
        (lambda x: x.any().to('cpu', non_blocking=True).tolist(), 0),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.repeat_interleave(x.int()), 1),
        (lambda x: x.repeat_interleave(x.int(), output_size=3), 0),
    ],
)
def test_waits(tool, function, waits):
    x = torch.tensor([0.0, 1.0, 2.0])
    assert counts(tool, lambda: function(x)).waits == waits


def put(problem, device):
    """Move a problem to a fake device, with what its layers give."""
    head = device.put(problem.head)
    moved = {id(x): device.put(x.detach()) for x in problem.leaves}
    moved = {key: x.requires_grad_() for key, x in moved.items()}
    problem.leaves = list(moved.values())
    problem.features = device.put(problem.features)
    problem.samples = [device.put(x) for x in problem.samples]
    head = getattr(head, 'head', head)
    maps = [[moved[id(x)] for x in levels] for levels in head.forward()]
    head.forward = lambda *_: tuple(maps)


@pytest.mark.parametrize('stage', ['loss', 'proposals'])
@pytest.mark.parametrize(
    'name', ['RPNHead', 'SparseRPNHead', 'KLRPNHead', 'torchvision']
)
def test_waits_are_those_of_a_device(tool, name, stage):
    problem = tool.Problem(name, (2, 3), (128, 160))
    run_stage = getattr(problem, stage)
    run_stage()
    found = counts(tool, run_stage)
    device = FakeDevice()
    put(problem, device)
    with device:
        run_stage()
        device.reset()
        run_stage()
    assert found.waits == sum(device.waits.values())


def test_contestants_have_the_same_problem(tool):
    totals = []
    for name in ('RPNHead', 'SparseRPNHead'):
        problem = tool.Problem(name, (2, 3), (128, 160))
        sizes = [(2, 3, -(-128 // s), -(-160 // s)) for s in tool.STRIDES]
        assert [tuple(x.shape) for x in problem.leaves[:5]] == sizes
        torch.manual_seed(0)
        losses = problem.head.loss(problem.features, problem.samples)
        totals.append(tool.total(losses))
    torch.testing.assert_close(*totals)


def test_peak_memory_is_the_most_in_use_at_once(tool):
    def function():
        first = torch.zeros(1_000_000)
        second = torch.zeros(500_000)
        del first
        torch.zeros(250_000)
        return second

    peak = tool.instruments.peak_memory(function)
    assert peak == pytest.approx(6.0, rel=0.01)


def test_contestants_take_turns(tool):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in 'ab'}
    turns = tool.instruments.take_turns(functions, 3)
    order = [x for x, before in zip(calls, [None, *calls]) if x != before]
    assert ''.join(order) == 'ab' * 3
    assert all(len(row) == 3 and min(row) > 0 for row in turns.values())


def test_a_ratio_is_the_median_of_turns(tool):
    turns = dict(a=[1.0, 20.0, 30.0], b=[2.0, 5.0, 10.0])
    assert tool.instruments.compare(turns, 'a') == ['20', '5 (3x)']
    assert tool.instruments.compare(turns, 'c') == ['20', '5']


def test_laps_add_up(tool):
    readings = iter([1, 3, 7])
    found = tool.laps(iter('ab'), lambda: next(readings))
    assert found == dict(a=2, b=4, sum=6)


def test_tables_replace_those_before(tool, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        '# Title\n\n<!-- measured: cpu -->\n<!-- end: cpu -->\nEnd\n'
    )
    table = tool.instruments.render('What.', ['', 'a'], [['x', '1']])
    assert table == 'What.\n\n|  | a |\n| --- | ---: |\n| x | 1 |'
    for text in ('old', table):
        tool.instruments.write(page, 'cpu', text)
    tool.instruments.write(page, 'cuda', 'other')
    text = page.read_text()
    assert table in text
    assert 'old' not in text
    assert text.startswith('# Title')
    assert text.index('End') < text.index('other')


@pytest.mark.slow
def test_a_section(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('')
    command = ['benchmarks/rpn_heads.py', '--sections', 'options']
    run(sys.executable, *command, '--turns', 1, '--out', page)
    text = page.read_text()
    for title, size in {'Loss.': '2 x 2,000', 'Proposals.': '2 x 20'}.items():
        table = text.split(title)[1].split('\n\n')[1].splitlines()
        assert table[0].startswith('| Images x objects | Head | operations |')
        assert table[2].startswith(f'| {size} | KLRPNHead | ')
        assert table[3].startswith(f'| {size} | KLRPNHead, num_stds=4 | ')


@pytest.mark.slow
def test_cost_of_the_roi_part():
    command = ['benchmarks/roi_head_cost.py', '--rois', 2, '--repeats', 1]
    text = run(sys.executable, *command)
    assert '| RoIs | Faster R-CNN | R-FCN | of which its maps |' in text
    assert '\n| 2 | ' in text
