"""The table of the paper's experiments in miniature."""

import json

from conftest import ROOT, load_tool

benchmark = load_tool('benchmarks/paper_in_miniature.py')


def write_metrics(work_dir, config, seed, ap):
    """What a finished run leaves behind."""
    metrics = dict.fromkeys(benchmark.COLUMNS.values(), 0.5)
    metrics['coco/bbox_mAP'] = ap
    folder = work_dir / config / f'seed{seed}'
    folder.mkdir(parents=True)
    (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def test_finished_runs_are_read_and_not_run_again(tmp_path):
    folder = write_metrics(tmp_path, 'config', 0, 0.125)
    points = benchmark.run('config.py', 0, folder)
    assert points['AP'] == 12.5
    assert points['AR@100'] == 50


def test_rows_are_means_and_differences_are_paired_by_seed(tmp_path):
    points = {}
    for pair in benchmark.PAIRS.values():
        for i, config in enumerate(pair):
            points[config] = [
                dict(
                    dict.fromkeys(benchmark.COLUMNS, 50.0), AP=10.0 * seed + i
                )
                for seed in (1, 2)
            ]
    lines = benchmark.format_table(points).splitlines()
    assert len(lines) == 2 + 3 * len(benchmark.PAIRS) + 2
    assert lines[2].startswith('| Faster R-CNN, single map, RPN | 15.0 | 50.0')
    assert lines[2].endswith('| 10.0, 20.0 |')
    assert lines[4].startswith('| difference by seed | +1.0 | +0.0')
    assert lines[4].endswith('| +1.0, +1.0 |')
    assert 'R-FCN, +1.0 to +1.0' in lines[-1]


def test_interval_is_that_of_student():
    # Mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.303.
    assert benchmark.interval([1.0, 2.0, 3.0]) == '-0.5 to +4.5'
    assert benchmark.interval([1.0]) == 'unknown of one seed'


def test_pairs_are_a_baseline_and_its_kl_rpn():
    for baseline, ours in benchmark.PAIRS.values():
        assert (ROOT / 'configs' / baseline).exists()
        assert (ROOT / 'configs' / ours).exists()
        name = ours.split('/')[1].replace('_kl-rpn', '')
        assert name == baseline.split('/')[1]
