"""What is read from runs' folders, and refused."""

import gzip
import json

import numpy as np
import pytest
from scenes import make_scene
from scipy import stats

from mmdet_klrpn.benchmark.bootstrap import (
    collect_matches,
    resample,
    save_matches,
)
from mmdet_klrpn.benchmark.columns import AP_NAMES
from mmdet_klrpn.benchmark.detection import evaluate
from mmdet_klrpn.benchmark.plan import Comparison, Detector, Plan
from mmdet_klrpn.benchmark.recall import evaluate_proposals
from mmdet_klrpn.benchmark.results import load_results
from mmdet_klrpn.benchmark.runs import (
    GROUND_TRUTH,
    MATCHES,
    METRICS,
    TIMINGS,
    run_of,
)

ENVIRONMENT = dict(device='x', threads='1', torch='2')
AP = {'A': [0.2, 0.22, 0.21], 'B': [0.3, 0.31], 'Zoo': [0.4]}


@pytest.fixture
def plan(tmp_path):
    detectors = (
        *(Detector(name, 'c.py') for name in 'AB'),
        Detector('Zoo', 'c.py', 'zoo.pth'),
    )
    pairs = [Comparison(('A', 'B')), Comparison(('A', 'Zoo'))]
    plan = Plan('t', tmp_path, detectors, tuple(pairs), seeds=3)
    for detector in detectors:
        for seed, ap in enumerate(AP[detector.name]):
            write_run(tmp_path, detector, seed, ap)
    rows = [['B', 'ms', '', 7.5, 10], ['gone', 'ms', '', 1, 10]]
    content = dict(rows=rows, environment=ENVIRONMENT)
    (tmp_path / TIMINGS).write_text(json.dumps(content))
    return plan


def write_run(work_dir, detector, seed, ap, config='a = 1'):
    """A run that finds the better part of a scene's objects as ap says."""
    truth, detections = make_scene()
    folder = run_of(work_dir, detector, seed).folder
    folder.mkdir(parents=True)
    kept = detections[: int(len(detections) * ap * 2)]
    coco_eval = evaluate(truth, kept)
    nothing = [
        dict(img_id=i['id'], bboxes=np.zeros((0, 4)), scores=np.zeros(0))
        for i in truth['images']
    ]
    matches = collect_matches(coco_eval, ['tree', 'bush'], AP_NAMES)
    recalls = evaluate_proposals(truth, nothing)
    save_matches(folder / MATCHES, {'': matches}, recalls)
    data = gzip.compress(json.dumps(truth).encode(), mtime=0)
    (folder / GROUND_TRUTH).write_bytes(data)
    metrics = dict(
        detector=detector.name,
        seed=seed,
        split='test',
        rows=[['AP', '', ap, 40], ['FP', '0.9', None, 6]],
        environment=ENVIRONMENT,
        training=dict(processes=str(1 + (detector.name == 'B'))),
        resolved_config=config,
    )
    (folder / METRICS).write_text(json.dumps(metrics))


def test_the_frame_has_every_value(plan):
    results = load_results(plan, [plan.work_dir], 0)
    frame = results.frame
    for name, values in AP.items():
        own = frame[(frame['detector'] == name) & (frame['metric'] == 'AP')]
        assert own['value'].tolist() == values
        assert own['seed'].tolist() == list(range(len(values)))
    assert np.isnan(frame[frame['metric'] == 'FP']['value']).all()
    times = frame[frame['metric'] == 'ms'].values.tolist()
    assert times == [['B', 0, 'ms', '', 7.5, 10]]
    assert results.notes == (
        'B: 2 seeds measured, but the plan asks for 3.',
        'Trained with several numbers of processes, and so of images a step: '
        '1, 2.',
    )


def test_what_runs_and_times_do_not_share_is_noted(plan):
    path = plan.work_dir / TIMINGS
    content = json.loads(path.read_text())
    content['environment']['device'] = 'y'
    path.write_text(json.dumps(content))
    plan = plan._replace(seeds=2)
    assert load_results(plan, [plan.work_dir], 0).notes[:2] == (
        'A: 3 seeds measured, but the plan asks for 2.',
        'Timed with device y, but measured with x.',
    )


def test_comparisons(plan):
    rows = load_results(plan, [plan.work_dir], 200, 1).comparisons
    rows = rows[rows['metric'] == 'AP'].set_index('second')
    ours, zoo = rows.loc['B'], rows.loc['Zoo']
    expected = stats.ttest_ind(AP['B'], AP['A'], equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (ours['seeds_low'], ours['seeds_high']) == pytest.approx(
        (low, high)
    )
    drawn = {
        name: np.mean(
            [
                resample(plan.work_dir / name / f'seed{i}' / MATCHES, 200)[
                    'AP', ''
                ]
                for i in range(len(AP[name.upper()]))
            ],
            axis=0,
        )
        for name in 'ab'
    }
    difference = np.sort((drawn['b'] - drawn['a'])[~np.isnan(drawn['a'])])
    quantile = np.quantile(difference, 0.025)
    assert ours['images_low'] == pytest.approx(quantile)
    fewer = min(sum(difference <= 0), sum(difference >= 0))
    over_images = min(1, 2 * (1 + fewer) / (1 + len(difference)))
    assert ours['p'] == pytest.approx(max(expected.pvalue, over_images))
    # One of the two comparisons has a p, so nothing is adjusted.
    assert ours['p_holm'] == ours['p']
    assert ours['significant'] == (ours['p'] < 0.05)
    assert np.isnan([zoo['p'], zoo['p_holm'], zoo['seeds_low']]).all()
    assert not zoo['significant']
    assert zoo['images_low'] < zoo['images_high']


def test_without_resamples_there_is_no_p(plan):
    rows = load_results(plan, [plan.work_dir], 0).comparisons
    assert rows['p'].isna().all()
    assert not rows['significant'].any()


def test_nothing_measured(plan, tmp_path):
    with pytest.raises(ValueError, match='nothing is measured: run the plan'):
        load_results(plan, [tmp_path / 'elsewhere'], 0)


def test_a_seed_in_two_folders(plan, tmp_path):
    write_run(tmp_path / 'more', plan.detectors[1], 1, 0.3)
    with pytest.raises(ValueError, match=r'B, seed 1 is in .* leave one of'):
        load_results(plan, [plan.work_dir, tmp_path / 'more'], 0)


def test_seeds_in_two_folders_are_joined(plan, tmp_path):
    write_run(tmp_path / 'more', plan.detectors[1], 2, 0.35)
    results = load_results(plan, [plan.work_dir, tmp_path / 'more'], 0)
    assert len(results.runs['B']) == 3


def test_other_objects(plan):
    folder = run_of(plan.work_dir, plan.detectors[1], 1).folder
    (folder / GROUND_TRUTH).write_bytes(gzip.compress(b'{}', mtime=0))
    with pytest.raises(ValueError, match='other images or objects'):
        load_results(plan, [plan.work_dir], 0)


def test_the_same_objects_compressed_otherwise(plan):
    path = run_of(plan.work_dir, plan.detectors[1], 1).folder / GROUND_TRUTH
    other = gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=5)
    assert other != path.read_bytes()
    path.write_bytes(other)
    assert len(load_results(plan, [plan.work_dir], 0).runs['B']) == 2


def test_another_split(plan):
    with pytest.raises(ValueError, match=r'measured on test, but .* is val'):
        load_results(plan._replace(split='val'), [plan.work_dir], 0)


def test_another_config_under_one_name(plan, tmp_path):
    other = 'train_cfg = dict(max_epochs=9)'
    write_run(tmp_path / 'more', plan.detectors[1], 2, 0.3, other)
    with pytest.raises(ValueError, match='different configs: train_cfg'):
        load_results(plan, [plan.work_dir, tmp_path / 'more'], 0)
