"""The benchmark of region proposal heads: its instruments, then itself."""

import sys

import pytest
import torch
from conftest import load_tool, run


@pytest.fixture(scope='module')
def tool():
    return load_tool('benchmarks/rpn_heads.py')


def test_peak_memory_is_the_most_in_use_at_once(tool):
    bench = tool.Bench('cpu', 1)

    def function():
        first = torch.zeros(1_000_000)
        second = torch.zeros(500_000)
        del first
        torch.zeros(250_000)
        return second

    assert bench.peak_memory(function) == pytest.approx(6.0, rel=0.01)


def test_contestants_take_turns(tool):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in 'ab'}
    results = tool.Bench('cpu', 3).time(functions)
    assert ''.join(calls) == 'ab' * 4  # the first of each warms up
    assert results['a'][1] == 1
    assert all(value > 0 for pair in results.values() for value in pair)


def test_tables_replace_those_before(tool, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        '# Title\n\n<!-- measured: cpu -->\n<!-- end: cpu -->\nEnd\n'
    )
    table = tool.render(('What.', [['', 'a'], ['x', '1']]))
    assert table == 'What.\n\n|  | a |\n| --- | --- |\n| x | 1 |'
    for text in ('old', table):
        tool.write(page, 'cpu', text)
    tool.write(page, 'cuda', 'other')
    text = page.read_text()
    assert table in text
    assert 'old' not in text
    assert text.startswith('# Title')
    assert text.index('End') < text.index('other')


@pytest.mark.slow
def test_a_section(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('')
    command = ['benchmarks/rpn_heads.py', '--sections', 'loss', '--rounds', 1]
    run(sys.executable, *command, '--objects', 1, '--out', page)
    text = page.read_text()
    assert '| Objects | RPNHead | SparseRPNHead | KLRPNHead |' in text
    assert '\n| 1 | ' in text
