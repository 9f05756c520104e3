#!/usr/bin/env python
"""Train RPN and KL-RPN on real images, print a table and draw pictures.

Two Faster R-CNNs that differ only in their RPN head learn to find tree crowns
in an aerial photograph and are tested on another: one scene, one class, one
seed. It shows that everything works, not which is the better method.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Dict, List

import matplotlib
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmdet_klrpn.apis import load_detector, propose
from mmdet_klrpn.benchmark import COLUMNS, PROPOSAL_OPTIONS
from mmdet_klrpn.benchmark.progress import (
    format_time,
    last_lines,
    read_progress,
)
from mmdet_klrpn.utils import distinct_names
from mmdet_klrpn.visualization import (
    draw_boxes,
    draw_proposals,
    draw_std_map,
    seen_image,
    std_map,
)

matplotlib.use('Agg')
from matplotlib import pyplot as plt

TOOLS = Path(__file__).resolve().parent
STUDY = TOOLS.parent / 'projects' / 'kl_rpn_study'
CONFIGS = {
    name: str(STUDY / f'configs/faster-rcnn_mobilenetv2_fpn_{rest}.py')
    for name, rest in (('RPN', '24e_trees'), ('KL-RPN', 'kl-rpn_24e_trees'))
}
TESTS = {'detections': [], 'proposals': PROPOSAL_OPTIONS}
CAVEAT = (
    'Points, of one scene, one class and one seed: this shows that it works, '
    'not which is better.'
)
PICTURES = 3
SECONDS_BETWEEN_LINES = 15


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default='work_dirs/demo')
    parser.add_argument('--epochs', type=int, help='fewer, to try it out')
    parser.add_argument('--seed', type=int, default=0, help='of both models')
    args = parser.parse_args()
    work_dir = args.work_dir.resolve()
    started = time.time()

    for tool in ('trees.py', 'mobilenetv2_to_mmdet.py data/mobilenetv2.pth'):
        script, *values = tool.split()
        command = [sys.executable, str(STUDY / 'converters' / script), *values]
        print(subprocess.check_output(command, text=True), end='')
    options = [f'randomness.seed={args.seed}']
    if args.epochs:
        options += schedule_options(args.epochs)
    train(work_dir, options)
    table = format_table(test(work_dir))
    print(f'\n{table}\n\n{CAVEAT}\n')
    (work_dir / 'table.md').write_text(table + '\n')
    for picture in draw(work_dir):
        print(f'picture: {picture}')
    print(f'done in {format_time(time.time() - started)}')


def schedule_options(epochs: int) -> List[str]:
    """Options of tools/train.py for another number of epochs."""
    return [
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.T_max={epochs}',
    ]


def start(job: str, command: List[str], work_dir: Path) -> subprocess.Popen:
    """Start one of the tools, its output in a log of its own."""
    work_dir.mkdir(parents=True, exist_ok=True)
    # Jobs run side by side: each gets its share of the cores.
    threads = max((os.cpu_count() or 1) // len(CONFIGS), 1)
    with (work_dir / f'{job}.log').open('w') as log:
        return subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
        )


def finish(job: str, process: subprocess.Popen, work_dir: Path) -> None:
    """Wait for a job, and stop with the end of its log if it failed."""
    if process.wait():
        log = work_dir / f'{job}.log'
        tail = '\n'.join(last_lines(log))
        sys.exit(f'{job} failed; the end of {log}:\n{tail}')


def train(work_dir: Path, options: List[str]) -> None:
    """Train all models side by side, with a line on the progress."""
    jobs = {}
    for model, config in CONFIGS.items():
        # An earlier run's results would be taken for this one's.
        shutil.rmtree(work_dir / model, ignore_errors=True)
        command = [str(TOOLS / 'train.py'), config, '--work-dir']
        command += [str(work_dir / model), '--cfg-options', *options]
        jobs[model] = start(f'train {model}', command, work_dir)
    started = printed = time.time()
    print(f'training {" and ".join(jobs)}; logs in {work_dir}', flush=True)
    while None in (states := [job.poll() for job in jobs.values()]):
        if any(states):  # one has failed: the other is for nothing
            for job in jobs.values():
                job.terminate()
        time.sleep(0.5)
        if time.time() - printed > SECONDS_BETWEEN_LINES:
            printed = time.time()
            print(progress_line(work_dir, printed - started), flush=True)
    # The one that failed by itself first, not the one that was terminated.
    for model, job in sorted(jobs.items(), key=lambda item: -item[1].poll()):
        finish(f'train {model}', job, work_dir)


def progress_line(work_dir: Path, seconds: float) -> str:
    """Epoch and estimated time left of each model, from mmengine's log."""
    parts = []
    for model in CONFIGS:
        progress = read_progress(work_dir / f'train {model}.log')
        if progress:
            left = timedelta(seconds=progress.seconds_left)
            parts.append(f'{model} {progress.where}, {left} left')
        else:
            parts.append(f'{model} starting')
    return f'  {format_time(seconds)}: {"; ".join(parts)}'


def test(work_dir: Path) -> Dict[str, Dict[str, float]]:
    """Test each model's detections and, alone, its proposals.

    Args:
        work_dir (Path): Where the models were trained.

    Returns:
        dict[str, dict[str, float]]: Of each model, metrics in [0, 1].
    """
    print('testing', flush=True)
    metrics: Dict[str, Dict[str, float]] = {model: {} for model in CONFIGS}
    for kind, options in TESTS.items():
        jobs = {}
        for model, config in CONFIGS.items():
            out = work_dir / model / kind
            command = [
                str(TOOLS / 'test.py'),
                config,
                str(checkpoint(work_dir, model)),
            ]
            command += ['--work-dir', str(out)]
            if options:
                command += ['--cfg-options', *options]
            jobs[model] = start(f'{kind} of {model}', command, work_dir)
        for model, job in jobs.items():
            finish(f'{kind} of {model}', job, work_dir)
            (result,) = (work_dir / model / kind).glob('*/*.json')
            metrics[model].update(json.loads(result.read_text()))
    return metrics


def checkpoint(work_dir: Path, model: str) -> Path:
    """The last checkpoint of a model."""
    return Path((work_dir / model / 'last_checkpoint').read_text())


def format_table(metrics: Dict[str, Dict[str, float]]) -> str:
    """A Markdown table of the metrics, in points."""
    rows = [['', *COLUMNS], ['---', *['---:'] * len(COLUMNS)]]
    for model, values in metrics.items():
        points = [f'{100 * values[key]:.1f}' for key in COLUMNS.values()]
        rows.append([f'Faster R-CNN with {model}', *points])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join(
        '| '
        + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths))
        + ' |'
        for row in rows
    )


def draw(work_dir: Path) -> List[Path]:
    """Draw test images with the ground truth and what each model proposes."""
    models = {
        name: load_detector(config, str(checkpoint(work_dir, name)))
        for name, config in CONFIGS.items()
    }
    config = Config.fromfile(CONFIGS['KL-RPN'])
    dataset = DATASETS.build(config.test_dataloader.dataset)
    crowded = sorted(
        range(len(dataset)),
        key=lambda i: -len(dataset.get_data_info(i)['instances']),
    )
    chosen = crowded[:PICTURES]
    names = distinct_names(
        [dataset.get_data_info(i)['img_path'] for i in chosen]
    )
    pictures = [work_dir / f'{name}.jpg' for name in names]
    for i, picture in zip(chosen, pictures):
        draw_one(dataset[i], models, picture)
    return pictures


def draw_one(
    data: dict, models: Dict[str, torch.nn.Module], path: Path
) -> None:
    """Draw one test image.

    Args:
        data (dict): An item of the test data set.
        models (dict[str, nn.Module]): The detectors by name.
        path (Path): JPEG file to write.
    """
    image = seen_image(data['inputs'], data['data_samples'])
    boxes = data['data_samples'].gt_instances.bboxes.numpy()
    top = len(boxes)
    figure, axes = plt.subplots(
        2, 2, figsize=(10.7, 10.3), layout='constrained'
    )
    (truth, rpn, kl_rpn, heat) = axes.flat
    draw_boxes(truth, image, boxes)
    truth.set_title(f'ground truth: {top} tree crowns')
    for name, ax in zip(CONFIGS, (rpn, kl_rpn)):
        (stage,) = propose(models[name], pseudo_collate([data]))
        draw_proposals(ax, image, stage.proposals, top)
        ax.set_title(f'{name}: {top} best proposals, yellow first')
    kl_rpn.set_title(f'KL-RPN: {top} best proposals, ± one std')
    stds = std_map(stage.log_vars, stage.head.num_stds)
    bar = draw_std_map(heat, image, stds)
    heat.set_title('std of the surest anchor, in encoded offsets')
    figure.colorbar(bar, ax=heat, fraction=0.045)
    figure.savefig(path, dpi=80, pil_kwargs=dict(quality=85))
    plt.close(figure)


if __name__ == '__main__':
    main()
