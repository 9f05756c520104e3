"""Results of a benchmark, and the files that examples need, made up."""

import gzip
import json

import numpy as np
import pandas as pd
from PIL import Image

from mmdet_klrpn.benchmark.columns import (
    AP_NAMES,
    PROPOSAL_NUMBERS,
    RECALL_NUMBERS,
)
from mmdet_klrpn.benchmark.plan import Comparison, Detector, Plan
from mmdet_klrpn.benchmark.results import Results
from mmdet_klrpn.benchmark.runs import DETECTIONS, GROUND_TRUTH

NAMES = ['RPN', 'RPN, 50% & top_9', 'KL-RPN', 'Zoo']


def synthetic_results(names=NAMES, classes=3):
    """Results of detectors that have 5 seeds, but for two.

    The second has 2 of 5, and the last one was only measured, without AP.
    All are compared with the first.
    """
    generator = np.random.default_rng(0)
    detectors = [Detector(n, 'a.py') for n in names[:-1]]
    detectors.append(Detector(names[-1], 'z.py', checkpoint='z.pth'))
    pairs = [Comparison((names[0], name)) for name in names[1:]]
    plan = Plan(
        'Heads <side by side>',
        'work_dirs/x',
        tuple(detectors),
        tuple(pairs),
        seeds=5,
        note='Made up | for tests.',
    )
    rows, runs = [], {}
    for place, detector in enumerate(detectors):
        seeds = list(plan.seeds_of(detector))[: 2 if place == 1 else 5]
        runs[detector.name] = [
            dict(_run(detector.name, place), folder=f'nowhere/{place}')
            for _ in seeds
        ]
        for seed in seeds:
            for metric, at, value, n in _values(generator, place, classes):
                if detector.checkpoint and metric in ('AP', 'class AP'):
                    continue
                rows.append([detector.name, seed, metric, at, value, n])
    columns = ['detector', 'seed', 'metric', 'at', 'value', 'n']
    frame = pd.DataFrame(rows, columns=columns)
    notes = (f'{names[1]}: 2 of 5 seeds measured.',)
    return Results(plan, frame, _compare(plan, frame), runs, notes)


def _values(generator, place, classes):
    """Every metric of a run, better the later its detector comes."""
    shift = 0.02 * place + generator.normal(0, 0.003)
    for i, name in enumerate(AP_NAMES):
        yield name, '', 0.35 + shift + 0.05 * (i % 3), 40
    for i in range(classes):
        noise = generator.normal(0, 0.05)
        yield 'class AP', f'class {i}', 0.4 + shift + noise, 10 + i
    for n in PROPOSAL_NUMBERS:
        share = np.log10(n) / 3
        yield 'AP', f'@{n}', (0.35 + shift) * share**0.3, 40
        yield 'proposals', f'@{n}', n * 0.98, 20
        yield 'second_stage_ms', f'@{n}', 5 + n / 50, 20
    for n in RECALL_NUMBERS:
        for i, size in enumerate(('', '_S', '_M', '_L')):
            value = (0.2 + 0.03 * i) * np.log10(n) + shift
            yield f'AR{size}', f'@{n}', value, 40
    for recall in np.linspace(0, 1, 101):
        for iou in (50, 75):
            value = max(0, 1 - recall**2 - iou / 400 + shift)
            yield f'precision{iou}', f'{recall:.2f}', value, 40
    for iou in np.arange(0.5, 1, 0.05):
        for n in (100, 1000):
            value = min(1, 1.4 - iou + shift + n / 1e4)
            yield f'recall{n}', f'{iou:.2f}', value, 40
    for recall in np.linspace(0.1, 0.9, 9):
        yield 'FP', f'{recall:.1f}', 9 * recall**3 * (1 - shift), 20
        yield 'proposal FP', f'{recall:.1f}', 90 * recall**3 * (1 - shift), 20
    cost = dict(parameters=41e6, flops=2e11, training_s=0.25)
    cost.update(training_mb=np.nan, inference_mb=900)
    for metric, value in (*cost.items(), ('ms', 40), ('first_stage_ms', 25)):
        yield metric, '', value * (1 + shift / 9), 20


def _compare(plan, frame):
    """Differences of means, of which intervals and p are made up."""
    keys = ['metric', 'at']
    mean = frame.groupby(['detector', *keys], sort=False)['value'].mean()
    counts = frame.groupby('detector')['seed'].nunique()
    rows = []
    for pair in plan.pairs:
        first, second = (mean[name] for name in pair)
        seeds = [int(counts[name]) for name in pair]
        several = min(seeds) > 1
        for (metric, at), difference in (second - first).dropna().items():
            primary = metric + at == plan.metric and several
            margin = 0.01 if several else np.nan
            images = np.nan if 'ms' in metric else 0.012
            p = 0.0001 if difference > 0.03 else 0.3
            rows.append(
                dict(
                    first=pair[0],
                    second=pair[1],
                    metric=metric,
                    at=at,
                    difference=difference,
                    seeds_low=difference - margin,
                    seeds_high=difference + margin,
                    images_low=difference - images,
                    images_high=difference + images,
                    p=p if several else np.nan,
                    p_holm=2 * p if primary else np.nan,
                    significant=bool(primary and 2 * p < 0.05),
                    seeds_first=seeds[0],
                    seeds_second=seeds[1],
                )
            )
    return pd.DataFrame(rows)


def _run(name, place):
    return dict(
        built={
            'assigner': 'MaxIoUAssigner'
            if place < 1
            else 'TopKMaxIoUAssigner',
            'loss of boxes': f'{name}: SmoothL1Loss, weight 1',
            'anchors': '3 a place, <8> | 16',
        },
        num_proposals=1000,
        images=20,
        objects=40,
        classes=3,
        environment=dict(torch='2.1.2', device='CPU & co', commit=None),
        training=dict(processes='8', torch='2.1.2'),
        resolved_config=f'model = dict(name={name!r})\n' * 5,
        img_prefix='',
    )


def write_examples(root, results, images=4):
    """Write pictures, ground truth and detections of each detector's run.

    Each image has three objects of two classes, and a crowd. The detector at
    place k of the plan finds the first ``min(k, 3)`` of them in each image but
    the last, of which it finds none.
    """
    generator = np.random.default_rng(0)
    objects = np.array([[5, 5, 45, 45], [60, 10, 100, 60], [20, 70, 60, 110]])
    truth = dict(
        categories=[dict(id=3, name='tree'), dict(id=8, name='bush')],
        images=[dict(id=10 + i, file_name=f'{i}.png') for i in range(images)],
        annotations=[
            dict(
                id=4 * i + j,
                image_id=10 + i,
                category_id=(3, 8, 3, 3)[j],
                bbox=[*box[:2], *np.subtract(box[2:], box[:2]).tolist()],
                iscrowd=int(j == 3),
            )
            for i in range(images)
            for j, box in enumerate([*objects.tolist(), [70, 70, 120, 120]])
        ],
    )
    for i in range(images):
        pixels = generator.integers(0, 255, (128, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{i}.png')
    for place, runs in enumerate(results.runs.values()):
        folder = root / f'{place}'
        folder.mkdir()
        for run in runs:
            run.update(folder=folder, img_prefix=str(root))
        data = gzip.compress(json.dumps(truth).encode())
        (folder / GROUND_TRUTH).write_bytes(data)
        count = min(place, 3)
        found = [(i, j) for i in range(images - 1) for j in range(count)]
        wrong = [(i, j) for i in range(images) for j in range(2)]
        np.savez(
            folder / DETECTIONS,
            images=np.array([i for i, _ in found + wrong]),
            labels=np.array(
                [(0, 1, 0)[j] for _, j in found] + [1] * len(wrong)
            ),
            bboxes=np.array(
                [objects[j] + 2.0 for _, j in found]
                + [[100.0, 100, 150 + j, 120] for _, j in wrong]
            ),
            scores=np.array([0.9] * len(found) + [0.5] * len(wrong)),
        )
