"""What would fail only after hours of training, checked before it."""

import copy
import os
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.fileio import exists, load
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..apis import load_detector, predicting_detector, rpn_head
from ..datasets.class_names import class_names
from ..datasets.leaf_datasets import leaf_datasets
from ..datasets.training_classes import check_training_classes
from .configs import check_comparison, check_run, leaves, resolve
from .ground_truth import annotation_file
from .plan import Plan
from .runs import run_of
from .stages import check_device


class _Problems(Dict[str, List[str]]):
    """What is wrong, and the names of those that have the problem."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Note an error of the context, whatever a config's code raises."""
        try:
            yield
        except Exception as error:
            text = ' '.join(str(error).split()) or type(error).__name__
            self.setdefault(text, []).append(name)

    def raise_any(self, remedy: str) -> None:
        """Raise a ValueError of all that was noted, a line for each."""
        lines = [f'{"; ".join(names)}: {text}' for text, names in self.items()]
        if lines:
            raise ValueError('\n  '.join([f'{remedy}:', *lines]))


def check_configs(plan: Plan, has_gpus: bool = True) -> Dict[str, Config]:
    """Check all that needs no data, in a second or two for each detector.

    Args:
        plan (Plan): With the work folder and seeds that are asked for.
        has_gpus (bool): Whether detectors are measured on GPUs.

    Returns:
        dict[str, Config]: Resolved configs by detector's name.

    Raises:
        ValueError: If a config cannot be read or built, has no RPN head,
            needs a GPU, or does not save its last weights; if a comparison is
            of more than the RPN heads; if a run that exists is another's; or
            if the disk is too small.
    """
    problems, configs, needed = _Problems(), {}, 0
    for detector in plan.detectors:
        with problems.of(detector.name):
            configs[detector.name] = config = resolve(detector)
            model = load_detector(copy.deepcopy(config), None)
            _check_model(model, plan.metric, has_gpus)
            if not detector.checkpoint:
                _check_saving(config)
            for seed in plan.seeds_of(detector):
                run = run_of(plan.work_dir, detector, seed)
                check_run(run, config)
                if not detector.checkpoint and not run.checkpoint:
                    # Two files of each weight and an optimizer's two moments.
                    numbers = (p.numel() for p in model.parameters())
                    needed += 2 * 3 * 4 * sum(numbers)
    for comparison in plan.compare:
        if configs.keys() >= {*comparison.pair}:
            with problems.of(' and '.join(comparison.pair)):
                check_comparison(comparison, plan, configs)
    with problems.of(f'work_dir {plan.work_dir}'):
        _check_disk(plan.work_dir, needed)
    problems.raise_any('change the plan')
    return configs


def check_data(plan: Plan, configs: Dict[str, Config]) -> None:
    """Check data and weights, once ``prepare`` has made them.

    Raises:
        ValueError: If annotations, images or weights are missing or do not
            fit, or if two detectors are measured on different data.
    """
    problems, seen, read = _Problems(), set(), {}
    for detector in plan.detectors:
        name, config = detector.name, configs[detector.name]
        init_default_scope(config.get('default_scope', 'mmdet'))
        with problems.of(f'{name}, {plan.split} data'):
            parts = f'{plan.split}_dataloader', f'{plan.split}_evaluator'
            key = str([config.get(part) for part in parts])
            if key not in read:  # most detectors have the same
                read[key] = name, _measured_on(config, plan.split)
            other, first = next(iter(read.values()))
            if read[key][1] != first:
                raise ValueError(
                    f'it is measured on {read[key][1]}, but {other} on '
                    f'{first}: give all detectors the same data'
                )
        with problems.of(name):
            if detector.checkpoint:
                _check_checkpoint(config, detector.checkpoint)
            else:
                _check_training(config, seen)
    problems.raise_any(
        'put data and weights where the configs look for them, or change '
        'those by cfg_options'
    )


def _check_model(model: nn.Module, metric: str, has_gpus: bool) -> None:
    kind = type(model).__name__
    if predicting_detector(model) is not model:
        raise ValueError(f'{kind} holds its detector: give the config of that')
    check_device(rpn_head(model), has_gpus)
    if not getattr(model, 'with_roi_head', False) and metric[:2] != 'AR':
        raise ValueError(
            f'{kind} proposes and does not detect: metric must be an AR, '
            f'such as AR@1000, but is {metric}'
        )


def _check_saving(config: Config) -> None:
    """Check that a training saves its last weights, by a known name."""
    loop, place = config.get('train_cfg') or {}, 'default_hooks.checkpoint'
    if not (loop.get('max_epochs') or loop.get('max_iters')):
        raise ValueError('train_cfg has neither max_epochs nor max_iters')
    hook = (config.get('default_hooks') or {}).get('checkpoint', {})
    wanted = dict(by_epoch=bool(loop.get('max_epochs')), save_last=True)
    given = {**dict(by_epoch=True, save_last=True), **(hook or {})}
    for key, value in dict(wanted, out_dir=None, filename_tmpl=None).items():
        if hook is None or given.get(key) != value:
            raise ValueError(
                f'{place}.{key} must be {value}, or the last weights would '
                f'not be found, but {place} is {hook}'
            )


def _check_disk(folder: Path, needed: int) -> None:
    folder = folder.absolute()
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f'{folder} cannot be written to: choose another')
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f'checkpoints will need about {needed / 1e9:.1f} GB, but '
            f'{free / 1e9:.1f} GB are free: choose another'
        )


def _build(config: dict, training: bool = False) -> BaseDataset:
    """A data set, if it has images and the first file is there."""
    config = copy.deepcopy(config)
    for part in leaf_datasets(config):
        part['serialize_data'] = False  # which fails where there is no image
    dataset = DATASETS.build(config)
    if training:
        check_training_classes(dataset)
    for part in leaf_datasets(dataset):
        if not len(part):
            raise ValueError(f'{part.ann_file} leaves no image')
        path = part.get_data_info(0)['img_path']
        if not exists(path, backend_args=part.backend_args):
            raise FileNotFoundError(f'{path} of {part.ann_file} is not there')
    return dataset


def _measured_on(config: Config, split: str) -> Tuple[str, List[str]]:
    """File and classes of the objects that a detector is measured on."""
    loader, metrics = (
        config.get(f'{split}_{part}') for part in ('dataloader', 'evaluator')
    )
    if not loader or not metrics:
        raise ValueError(f'it needs a {split}_dataloader and _evaluator')
    dataset = _build(loader.dataset)
    Runner.build_evaluator(None, copy.deepcopy(metrics))
    path = annotation_file(config, split)
    truth, classes = load(path), class_names(dataset.metainfo)
    known = {category['name'] for category in truth['categories']}
    used = {
        part.get_data_info(i)['img_id']
        for part in leaf_datasets(dataset)
        for i in range(len(part))
    }
    images = {image['id'] for image in truth['images']}
    if not known.issuperset(classes) or used != images:
        raise ValueError(
            f'{path} of {split}_evaluator has {len(images)} images and '
            f'the classes {sorted(known)}, but {split}_dataloader '
            f'{len(used & images)} of these images and {classes}'
        )
    return os.path.realpath(path), classes


def _check_training(config: Config, seen: Set[str]) -> None:
    """Check what training reads, unless it was seen with another detector."""
    for split in ('train', 'val') if config.get('val_cfg') else ('train',):
        data = config[f'{split}_dataloader'].dataset
        metrics = copy.deepcopy(config.get(f'{split}_evaluator'))
        if str((data, metrics)) in seen:
            continue
        _build(data, training=split == 'train')
        if metrics:
            Runner.build_evaluator(None, metrics)
        seen.add(str((data, metrics)))
    weights = dict(load_from=config.get('load_from'), model=config.model)
    for key, value in leaves(weights):
        is_file = key.endswith(('load_from', 'init_cfg.checkpoint'))
        if is_file and '://' not in value and not Path(value).is_file():
            raise FileNotFoundError(f'{key}: there is no {value}')


def _check_checkpoint(config: Config, checkpoint: str) -> None:
    """Download it if need be, and load it into the detector."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds without an answer of a server
    try:
        load_detector(copy.deepcopy(config), checkpoint)
    except OSError as error:
        remedy = 'download it, and ' * ('://' in checkpoint)
        raise ValueError(
            f'checkpoint {checkpoint} cannot be read: {error}; {remedy}give a '
            'file that is there'
        ) from error
    finally:
        socket.setdefaulttimeout(before)
