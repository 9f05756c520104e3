#!/usr/bin/env python
"""Train RPN and KL-RPN on real images, print a table and draw pictures.

Two Faster R-CNNs that differ only in their RPN head learn to find tree crowns
in an aerial photograph and are tested on another: one scene, one class, one
seed. It shows that everything works, not which method is better.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import pandas as pd
from analysis_tools.gallery import crowded, draw
from mmdet.registry import DATASETS

from mmdet_klrpn.apis import load_detector

TOOLS = Path(__file__).resolve().parent
STUDY = TOOLS.parent / 'projects' / 'kl_rpn_study'
CONFIGS = {
    name: str(STUDY / f'configs/faster-rcnn_mobilenetv2_fpn_{rest}.py')
    for name, rest in (('RPN', '24e_trees'), ('KL-RPN', 'kl-rpn_24e_trees'))
}
# Options of tools/test.py; the second ones test only the first stage.
PROPOSALS = ['model.type=RPN', 'test_evaluator.type=ProposalMetric']
TESTS = {'detections': [], 'proposals': ['--cfg-options', *PROPOSALS]}
COLUMNS = {
    **{'coco/bbox_mAP': 'AP', 'coco/bbox_mAP_50': 'AP50'},
    **{f'proposal/AR@{number}': f'AR@{number}' for number in (10, 30, 100)},
}
CAVEAT = (
    'Points, of one scene, one class and one seed: this shows that it works, '
    'not which is better.'
)
PICTURES = 3
SECONDS_BETWEEN_LINES = 15
PROGRESS = re.compile(r'Epoch\(\w+\)\s+(\[.*\]) .*?eta: (\S+)')


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        type=Path,
        default='work_dirs/demo',
        help='output folder (default: %(default)s)',
    )
    parser.add_argument(
        '--epochs', type=int, help='fewer epochs, for a quick try'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of both models (default: %(default)s)',
    )
    args = parser.parse_args()
    work_dir = args.work_dir.resolve()
    started = time.time()

    for tool in ('trees.py', 'mobilenetv2_to_mmdet.py data/mobilenetv2.pth'):
        script, *values = tool.split()
        command = [sys.executable, str(STUDY / 'converters' / script), *values]
        print(subprocess.check_output(command, text=True), end='')
    options = [f'randomness.seed={args.seed}']
    if args.epochs:
        options.append(f'train_cfg.max_epochs={args.epochs}')
        options.append(f'param_scheduler.1.T_max={args.epochs}')
    train(work_dir, options)
    table = format_table(test(work_dir))
    print(f'\n{table}\n\n{CAVEAT}\n')
    (work_dir / 'table.md').write_text(table + '\n')
    for picture in draw_pictures(work_dir):
        print(f'picture: {picture}')
    print(f'done in {(time.time() - started) / 60:.0f} minutes')


def train(work_dir: Path, options: List[str]) -> None:
    """Train both models side by side."""
    commands = {}
    for model, config in CONFIGS.items():
        # Results of an earlier run would be taken for this one's.
        shutil.rmtree(work_dir / model, ignore_errors=True)
        folder = str(work_dir / model)
        commands[model] = [str(TOOLS / 'train.py'), config]
        commands[model] += ['--work-dir', folder, '--cfg-options', *options]
    run_all('train', commands, work_dir)


def test(work_dir: Path) -> Dict[str, Dict[str, float]]:
    """Metrics in [0, 1] of each model's detections and of its proposals."""
    metrics: Dict[str, Dict[str, float]] = {model: {} for model in CONFIGS}
    for kind, options in TESTS.items():
        commands = {}
        for model, config in CONFIGS.items():
            commands[model] = [str(TOOLS / 'test.py'), config]
            commands[model] += [checkpoint(work_dir, model), *options]
            commands[model] += ['--work-dir', str(work_dir / model / kind)]
        run_all(f'test {kind} of', commands, work_dir)
        for model, values in metrics.items():
            (result,) = (work_dir / model / kind).glob('*/*.json')
            values.update(json.loads(result.read_text()))
    return metrics


def run_all(step: str, commands: Dict[str, List[str]], work_dir: Path) -> None:
    """Run a step's commands side by side, one per model, each with its log.

    If one fails, the others are stopped, and so is the demo, with the end of
    its log.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    print(f'{step} {" and ".join(commands)}; logs in {work_dir}', flush=True)
    threads = max((os.cpu_count() or 1) // len(commands), 1)
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    jobs = {}
    for model, command in commands.items():
        with (work_dir / f'{step} {model}.log').open('w') as log:
            jobs[model] = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, env=env
            )
    started = printed = time.time()
    running, failed = True, []
    while running and not failed:
        time.sleep(0.5)
        if time.time() - printed > SECONDS_BETWEEN_LINES:
            printed = time.time()
            line = progress_line([work_dir / f'{step} {m}.log' for m in jobs])
            print(f'  {printed - started:.0f} s: {line}', flush=True)
        running = None in [job.poll() for job in jobs.values()]
        failed = [model for model, job in jobs.items() if job.returncode]
    for model in failed:
        for job in jobs.values():
            job.terminate()
            job.wait()
        log = work_dir / f'{step} {model}.log'
        tail = '\n'.join(log.read_text().splitlines()[-15:])
        sys.exit(f'{step} {model} failed; the end of {log}:\n{tail}')


def progress_line(logs: List[Path]) -> str:
    """Epoch and time left, from the newest line of each log."""
    parts = []
    for log in logs:
        found = PROGRESS.findall(log.read_text())
        where = '{} {} left'.format(*found[-1]) if found else 'starting'
        parts.append(f'{log.stem}: {where}')
    return '; '.join(parts)


def checkpoint(work_dir: Path, model: str) -> str:
    """The last checkpoint of a model."""
    return (work_dir / model / 'last_checkpoint').read_text()


def format_table(metrics: Dict[str, Dict[str, float]]) -> str:
    """A Markdown table of the metrics, in points."""
    table = 100 * pd.DataFrame(metrics).T[list(COLUMNS)]
    table = table.rename(columns=COLUMNS, index='Faster R-CNN with {}'.format)
    return table.to_markdown(floatfmt='.1f')


def draw_pictures(work_dir: Path) -> List[Path]:
    """Draw test images with ground truth and each model's proposals."""
    models = [
        load_detector(config, checkpoint(work_dir, name))
        for name, config in CONFIGS.items()
    ]
    dataset = DATASETS.build(models[0].cfg.test_dataloader.dataset)
    pictures = []
    for i in crowded(dataset)[:PICTURES]:
        name = Path(dataset.get_data_info(i)['img_path']).stem
        pictures.append(work_dir / f'{name}.jpg')
        draw(dataset[i], models, pictures[-1])
    return pictures


if __name__ == '__main__':
    main()
