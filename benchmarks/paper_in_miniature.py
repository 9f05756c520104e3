#!/usr/bin/env python
"""The paper's two experiments in miniature, on the trees.

Faster R-CNN on a single map and R-FCN, each with RPN and with KL-RPN, are
trained with several seeds. What is finished is not run again, so that a run
that was cut goes on. The table has a row for each detector, a mean over the
seeds, and the difference of each pair by seed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List

from scipy import stats

from mmdet_klrpn.benchmark import COLUMNS, PROPOSAL_OPTIONS

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / 'tools'
PAIRS = {
    'Faster R-CNN, single map': (
        'faster_rcnn/faster-rcnn_mobilenetv2_24e_trees.py',
        'kl_rpn/faster-rcnn_mobilenetv2_kl-rpn_24e_trees.py',
    ),
    'R-FCN': (
        'rfcn/rfcn_mobilenetv2_24e_trees.py',
        'kl_rpn/rfcn_mobilenetv2_kl-rpn_24e_trees.py',
    ),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5, help='0 to SEEDS - 1')
    parser.add_argument('--jobs', type=int, default=2, help='side by side')
    parser.add_argument(
        '--work-dir', type=Path, default='work_dirs/paper_in_miniature'
    )
    args = parser.parse_args()
    subprocess.run(
        [sys.executable, TOOLS / 'dataset_converters/trees.py'], check=True
    )
    weights = 'data/mobilenetv2.pth'
    if not Path(weights).exists():
        converter = TOOLS / 'model_converters/mobilenetv2_to_mmdet.py'
        subprocess.run([sys.executable, converter, weights], check=True)

    jobs = [
        (config, seed, args.work_dir / Path(config).stem / f'seed{seed}')
        for seed in range(args.seeds)
        for pair in PAIRS.values()
        for config in pair
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda job: run(*job), jobs))
    points: Dict[str, List[Dict[str, float]]] = {}
    for (config, _, _), result in zip(jobs, results):
        points.setdefault(config, []).append(result)
    print(format_table(points))


def run(config: str, seed: int, work_dir: Path) -> Dict[str, float]:
    """Train and test one detector; its metrics, in points."""
    done = work_dir / 'metrics.json'
    if not done.exists():
        path = ROOT / 'configs' / config
        call(
            *('train.py', path, '--work-dir', work_dir, '--resume'),
            *('--cfg-options', f'randomness.seed={seed}'),
        )
        checkpoint = (work_dir / 'last_checkpoint').read_text()
        metrics = {}
        for kind, options in (('boxes', []), ('proposals', PROPOSAL_OPTIONS)):
            out = work_dir / kind
            call(
                *('test.py', path, checkpoint, '--work-dir', out),
                *(('--cfg-options', *options) if options else ()),
            )
            newest = max(out.glob('*/*.json'))
            metrics.update(json.loads(newest.read_text()))
        done.write_text(json.dumps(metrics))
        print(f'{Path(config).stem}, seed {seed}: done', flush=True)
    metrics = json.loads(done.read_text())
    return {name: 100 * metrics[key] for name, key in COLUMNS.items()}


def call(tool: str, *arguments: object) -> None:
    """Run one of the tools on a core of its own; stop if it fails."""
    command = [sys.executable, TOOLS / tool, *map(str, arguments)]
    result = subprocess.run(
        command,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f'{command} failed:\n{result.stdout[-2000:]}')


def format_table(points: Dict[str, List[Dict[str, float]]]) -> str:
    """A Markdown table: means, single seeds, differences, and intervals."""
    lines = [
        '| | ' + ' | '.join([*COLUMNS, 'AP by seed']) + ' |',
        '| --- |' + ' ---: |' * (len(COLUMNS) + 1),
    ]
    intervals = []
    for name, pair in PAIRS.items():
        runs = [points[config] for config in pair]
        difference = [
            {column: ours[column] - theirs[column] for column in COLUMNS}
            for theirs, ours in zip(*runs)
        ]
        lines += [
            row(f'{name}, RPN', runs[0], ''),
            row(f'{name}, KL-RPN', runs[1], ''),
            row('difference by seed', difference, '+'),
        ]
        ap = [run['AP'] for run in difference]
        intervals.append(f'{name}, {interval(ap)}')
    intervals = '; '.join(intervals)
    lines += ['', f'95% interval of the difference in AP: {intervals}.']
    return '\n'.join(lines)


def interval(values: List[float]) -> str:
    """The 95% interval of a mean by Student's t, over the seeds."""
    if len(values) < 2:
        return 'unknown of one seed'
    mean, error = statistics.mean(values), stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * error
    return f'{mean - half:+.1f} to {mean + half:+.1f}'


def row(name: str, runs: List[Dict[str, float]], sign: str) -> str:
    """A row: means over the seeds, and the AP of each."""
    means = [
        f'{statistics.mean(run[column] for run in runs):{sign}.1f}'
        for column in COLUMNS
    ]
    by_seed = ', '.join(f'{run["AP"]:{sign}.1f}' for run in runs)
    return f'| {name} | ' + ' | '.join([*means, by_seed]) + ' |'


if __name__ == '__main__':
    main()
