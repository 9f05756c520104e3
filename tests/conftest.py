"""A data set and a config small enough to train in seconds."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from processes import end_processes, start
from slurm import running_slurm

ROOT = Path(__file__).resolve().parent.parent
# Detectors of a miniature, with an RPN or, one of them, with KL-RPN.
STUDY = ROOT / 'projects/kl_rpn_study/configs'
KL_RPN_CONFIG = STUDY / 'faster-rcnn_mobilenetv2_fpn_kl-rpn_24e_trees.py'
SIZE = 96


def pytest_addoption(parser):
    parser.addoption(
        '--every-config',
        action='store_true',
        help='sweep every config of mmdet, not a sample: half an hour',
    )


def write_tiny_data(root, squares, category='tree'):
    """Write a COCO data set of bright squares on dark images.

    Args:
        root (Path): Folder of the data set.
        squares (list[list[tuple]]): Of each image, (x, y, side) in pixels.
        category (str): What they are.
    """
    (root / 'images').mkdir()
    images, annotations = [], []
    for i, boxes in enumerate(squares, 1):
        image = np.full((SIZE, SIZE, 3), 40, dtype=np.uint8)
        for x, y, side in boxes:
            image[y : y + side, x : x + side] = (60, 200, 120)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=1,
                    bbox=[x, y, side, side],
                    area=side * side,
                    iscrowd=0,
                    segmentation=[
                        [
                            *(x, y, x + side, y),
                            *(x + side, y + side, x, y + side),
                        ]
                    ],
                )
            )
        cv2.imwrite(str(root / 'images' / f'{i}.png'), image)
        images.append(
            dict(id=i, file_name=f'{i}.png', width=SIZE, height=SIZE)
        )
    categories = [dict(id=1, name=category)]
    (root / 'annotations.json').write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory):
    """Folder of a COCO data set: eight images, the last without an object."""
    root = tmp_path_factory.mktemp('data')
    generator = np.random.default_rng(0)
    squares = [
        [
            (
                *generator.integers(0, SIZE - 40, 2).tolist(),
                int(generator.integers(24, 40)),
            )
            for _ in range(2)
        ]
        for _ in range(7)
    ]
    write_tiny_data(root, [*squares, []])
    return root


def write_tiny_config(path, data, base=KL_RPN_CONFIG):
    """Write a config that inherits one of the trees' and trains on `data`."""
    dataset = f"""dict(
        data_root='{data}/', ann_file='annotations.json',
        data_prefix=dict(img='images/'))"""
    path.write_text(f"""
_base_ = '{base}'
data_root = '{data}/'
model = dict(backbone=dict(init_cfg=None))
train_dataloader = dict(dataset={dataset})
val_dataloader = dict(dataset={dataset})
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/annotations.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
""")
    return path


def write_enlarged_config(path, data):
    """The same of KL-RPN on a single map, on images of twice their size.

    Its anchors are 32 pixels of the images wide.
    """
    name = 'faster-rcnn_mobilenetv2_kl-rpn_24e_trees.py'
    write_tiny_config(path, data, ROOT / 'tests/configs' / name)
    path.write_text(
        path.read_text()
        + """
model['rpn_head'] = dict(anchor_generator=dict(scales=[4], ratios=[1.0]))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor')),
]
test_dataloader['dataset']['pipeline'] = pipeline
"""
    )
    return path


@pytest.fixture(scope='session')
def tiny_config(tiny_data):
    """Config file of a small KL-RPN detector on the small data set."""
    return write_tiny_config(tiny_data / 'tiny_kl-rpn.py', tiny_data)


def run(*command, cwd=ROOT, env=None, check=True):
    """Run a command; its output is returned, and shown if it fails."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=str(cwd),
        env={**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        assert result.returncode == 0, result.stdout[-5000:]
    return result.stdout


@contextmanager
def warnings_logged(level=logging.WARNING):
    """Messages of mmengine's logger within a context, a list."""
    lines = []
    handler = logging.Handler(level)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def load_checkpoint(path):
    """What a training saved, the runner's state beside the weights."""
    # By default torch>=2.6 loads no more than tensors and plain containers.
    return torch.load(path, map_location='cpu', weights_only=False)


def load_tool(path):
    """Import a script of tools/, given from the repository's root."""
    spec = importlib.util.spec_from_file_location('tool', ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_scope(config):
    """A config without the scope that inheriting from mmdet stamps on it."""
    if isinstance(config, dict):
        return {
            key: without_scope(value)
            for key, value in config.items()
            if key != '_scope_'
        }
    if isinstance(config, (list, tuple)):
        return [without_scope(value) for value in config]
    return config


@pytest.fixture(scope='session')
def trained(tiny_config, tmp_path_factory):
    """Work folder of a training by tools/train.py."""
    work_dir = tmp_path_factory.mktemp('trained')
    run(sys.executable, 'tools/train.py', tiny_config, '--work-dir', work_dir)
    return work_dir


@pytest.fixture(scope='session')
def slurm():
    """A Slurm that runs on this machine."""
    with running_slurm() as running:
        yield running


@pytest.fixture
def background(tmp_path):
    """Start commands that end with the test at the latest.

    Their environment has the test's folder as TEST.
    """
    started = []

    def call(*command, log, env):
        env = dict(env, TEST=str(tmp_path))
        started.append(start(*command, log=log, env=env))
        return started[-1]

    yield call
    end_processes(started, 'TEST', tmp_path)
