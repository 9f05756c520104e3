"""Test sets, detections and runs, made without a model."""

import json

import numpy as np

from mmdet_klrpn.benchmark.columns import PROPOSAL_NUMBERS, RECALL_NUMBERS
from mmdet_klrpn.benchmark.measure import write_gzip
from mmdet_klrpn.benchmark.runs import (
    DETECTIONS,
    GROUND_TRUTH,
    METRICS,
    RECALLS_FILE,
)


def make_scene():
    """Ground truth of two categories and detections near it, as COCO."""
    generator = np.random.default_rng(3)
    truth = dict(
        images=[dict(id=10 * i, width=300, height=300) for i in range(1, 7)],
        categories=[dict(id=3, name='tree'), dict(id=8, name='bush')],
        annotations=[],
    )
    detections = []
    for image in truth['images'][:-1]:  # the last has no object
        for _ in range(8):
            x, y = generator.uniform(0, 180, 2).tolist()
            size = float(generator.choice([20, 60, 110]))
            category = int(generator.choice([3, 8], p=[0.8, 0.2]))
            truth['annotations'].append(
                dict(
                    id=len(truth['annotations']) + 1,
                    image_id=image['id'],
                    category_id=category,
                    bbox=[x, y, size, size],
                    area=size * size,
                    iscrowd=int(generator.random() < 0.1),
                )
            )
            shift = generator.normal(0, 0.12 * size, 4)
            detections.append(
                dict(
                    image_id=image['id'],
                    category_id=category,
                    bbox=np.add([x, y, size, size], shift).tolist(),
                    score=float(generator.random()),
                )
            )
    for image in truth['images']:
        for _ in range(5):
            box = generator.uniform(0, 150, 4).tolist()
            detections.append(
                dict(
                    image_id=image['id'],
                    category_id=3,
                    bbox=box,
                    score=float(generator.random()),
                )
            )
    return truth, detections


def run_metrics(config, seed, shift=0.0):
    """Metrics of a run in which each figure has a value of its own."""
    by_number = {
        str(number): dict(
            AP=0.02 * i + shift,
            AP50=0.3 + shift,
            AP75=0.1,
            AP_S=0.05,
            AP_M=0.2,
            AP_L=None,
            mean_proposals=float(min(number, 450)),
            second_stage_ms=10.0 * i,
            second_stage_share=i / 6,
        )
        for i, number in enumerate(PROPOSAL_NUMBERS, 1)
    }
    curve = np.linspace(0.5 + shift, 0, 10).tolist()
    recall = {str(number): curve for number in RECALL_NUMBERS}
    none = {str(number): [None] * 10 for number in RECALL_NUMBERS}
    return dict(
        config=config,
        seed=seed,
        checkpoint='epoch_1.pth',
        num_images=6,
        num_proposals=300,
        by_proposals=by_number,
        precision={'0.5': [0.5] * 101, '0.75': [0.25] * 101},
        recall=dict(all=recall, small=recall, medium=recall, large=none),
        cost=dict(
            parameters=2_500_000,
            flops=1e9,
            train_s_per_iter=0.25,
            train_memory_mb=None,
            inference_ms=12.5,
            first_stage_ms=10.0,
            peak_memory_mb=100.0,
        ),
        training=dict(processes='1', torch='2', device=None),
        environment=dict(device='a CPU', threads='1', torch='2', commit='c0'),
        resolved_config=f"model = dict(rpn_head=dict(type='{config}'))\n",
    )


def write_run(work_dir, config, seed, scene, metrics):
    """What a measured run leaves in its folder."""
    folder = work_dir / config / f'seed{seed}'
    folder.mkdir(parents=True)
    truth, detections = scene
    (folder / METRICS).write_text(json.dumps(metrics))
    write_gzip(folder / GROUND_TRUTH, truth)
    write_gzip(folder / DETECTIONS, detections)
    generator = np.random.default_rng(seed)
    objects = np.tile([4, 1, 3, 0], (6, 1))
    found = generator.integers(0, objects[:, :, None, None] + 1, (6, 4, 5, 10))
    np.savez_compressed(folder / RECALLS_FILE, found=found, objects=objects)
    return folder


PLAN = """
title: Squares <and> bushes
note: Made up.
work_dir: {work_dir}
seeds: 3
pairs:
  - name: A & B
    baseline: a.py
    kl_rpn: b.py
"""


def make_study(tmp_path, scene):
    """A folder of runs of one pair, three seeds, with its plan."""
    truth, detections = scene
    (tmp_path / 'plan.yaml').write_text(PLAN.format(work_dir=tmp_path))
    for seed in range(3):
        for config, shift in (('a', 0.0), ('b', 0.01 + 0.001 * seed)):
            metrics = run_metrics(config, seed, shift)
            own = detections if config == 'a' else detections[5:]
            write_run(tmp_path, config, seed, (truth, own), metrics)
    return tmp_path
