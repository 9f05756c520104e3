"""The demo on its real data, cut short."""

import sys
import time

import pytest
from conftest import ROOT, load_tool, run


@pytest.mark.slow
def test_demo_prints_its_table_and_draws(tmp_path):
    text = run(
        *(sys.executable, 'tools/demo.py', '--epochs', 1, '--seed', 1),
        *('--work-dir', tmp_path),
    )
    assert '56 images, 738 boxes' in text
    assert '12 images, 337 boxes' in text
    table = (tmp_path / 'table.md').read_text()
    assert table in text
    assert 'one scene, one class and one seed' in text
    names = ('AP', 'AP50', 'AR@10', 'AR@30', 'AR@100')
    assert all(f' {name} ' in table for name in names)
    for name in ('RPN', 'KL-RPN'):
        row = next(line for line in table.splitlines() if f' {name} ' in line)
        numbers = [float(cell) for cell in row.split('|')[2:-1]]
        assert len(numbers) == 5
        assert all(0 <= number <= 100 for number in numbers)
    for name in ('RPN', 'KL-RPN'):
        log = (tmp_path / f'train {name}.log').read_text()
        assert 'randomness = dict(seed=1)' in log
    pictures = sorted(tmp_path.glob('*.jpg'))
    assert len(pictures) == 3
    assert all(picture.stat().st_size > 50_000 for picture in pictures)


@pytest.fixture
def demo(monkeypatch):
    # As for a script: its own folder comes first.
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return load_tool('tools/demo.py')


def test_progress_reads_the_newest_line(demo, tmp_path):
    logs = [tmp_path / 'train RPN.log', tmp_path / 'train KL-RPN.log']
    logs[0].write_text(
        'INFO - Epoch(train)  [1][ 7/26]  lr: 1e-4  eta: 0:09:00  time: 1\n'
        'INFO - Epoch(train) [12][14/26]  lr: 1e-4  eta: 0:04:18  time: 1\n'
    )
    logs[1].write_text('starting\n')
    assert demo.progress_line(logs) == (
        'train RPN: [12][14/26] 0:04:18 left; train KL-RPN: starting'
    )


def test_a_failed_training_stops_the_other(demo, tmp_path, monkeypatch):
    (tmp_path / 'train.py').write_text(
        'import sys, time\n'
        'if "kl-rpn" in sys.argv[1]:\n'
        '    raise OSError("disk full")\n'
        'time.sleep(120)\n'
    )
    monkeypatch.setattr(demo, 'TOOLS', tmp_path)
    started = time.time()
    with pytest.raises(
        SystemExit, match=r'(?s)train KL-RPN failed.*disk full'
    ):
        demo.train(tmp_path / 'work', [])
    assert time.time() - started < 60


def test_training_deletes_nothing_else(demo, tmp_path, monkeypatch):
    (tmp_path / 'train.py').touch()
    (tmp_path / 'thesis.tex').touch()
    (tmp_path / 'RPN').mkdir()
    (tmp_path / 'RPN' / 'old.json').touch()
    monkeypatch.setattr(demo, 'TOOLS', tmp_path)
    demo.train(tmp_path, [])
    assert (tmp_path / 'thesis.tex').exists()
    assert not (tmp_path / 'RPN' / 'old.json').exists()


def test_table_is_in_points(demo):
    values = dict.fromkeys(demo.COLUMNS, 0.1234)
    table = demo.format_table({'RPN': values})
    assert table.splitlines()[2].count('12.3') == 5
