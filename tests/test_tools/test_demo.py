"""The demo on its real data, cut short."""

import sys

import pytest
from conftest import run


@pytest.mark.slow
def test_demo_prints_its_tables_and_draws(tmp_path):
    command = (sys.executable, 'tools/demo.py', '--epochs', 1)
    text = run(*command, '--work-dir', tmp_path)
    assert 'One scene, one class and one seed' in text
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in text.splitlines()
        if line.startswith('| ')
    ]
    heads = [row for row in rows if row[0] == 'detector']
    assert [head[1] for head in heads] == ['AP', 'AR@10']
    for name in ('RPN', 'KL-RPN'):
        for row in (row for row in rows if row[0] == name):
            numbers = [float(cell) for cell in row[1:3]]
            assert all(0 <= number <= 100 for number in numbers)
        log = tmp_path / name.lower() / 'seed0/benchmark.log'
        assert 'randomness = dict(seed=0)' in log.read_text()
    assert (tmp_path / 'report/index.html').is_file()
    pictures = sorted(tmp_path.glob('*.jpg'))
    assert len(pictures) == 3
    assert all(picture.stat().st_size > 50_000 for picture in pictures)
    # Nothing is trained or measured again.
    assert ': done' in text
    assert ': done' not in run(*command, '--work-dir', tmp_path)
