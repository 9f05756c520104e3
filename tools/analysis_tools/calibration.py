#!/usr/bin/env python
"""Show whether proposals know how sure they are: tables and pictures.

For each pair of a config and a checkpoint, on the images of test_dataloader:
whether KL-RPN's stds are those of the errors, as predicted and with the factor
that is fitted on the training images, and whether the scores, also an
ordinary RPN's, are the probability of an object. Checkpoints of one config,
such as several seeds, share a row: the mean and, in brackets, the range.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import matplotlib
import numpy as np
from mmdet_klrpn.benchmark.comparison import check_namesakes

from mmdet_klrpn.benchmark.tables import Table
from mmdet_klrpn.evaluation import FirstStageErrors
from mmdet_klrpn.evaluation.functional import (
    LEVELS,
    ProposalErrors,
    concatenate,
    coverage,
    fit_std_scale,
    objectness_calibration,
    reliability_diagram,
    std_calibration,
)
from mmdet_klrpn.visualization import draw_coverage, draw_reliability

matplotlib.use('Agg')
from matplotlib import pyplot as plt

Figures = Dict[str, float]
STD_COLUMNS = {
    'factor': 'factor',
    '50%': 'coverage@50',
    '80%': 'coverage@80',
    '95%': 'coverage@95',
    'error': 'std_calibration_error',
    'NLL': 'nll',
    'NLL, constant': 'nll_constant',
    'std, px': 'std',
    'corr.': 'std_error_correlation',
    'rank corr.': 'std_error_rank_correlation',
    'rank corr., by size': 'relative_std_error_rank_correlation',
}
OBJECTNESS_COLUMNS = {
    'ECE': 'objectness_ece',
    'Brier': 'objectness_brier',
    'mean score': 'objectness_mean',
    'on an object': 'hit_rate',
}


class Measured(NamedTuple):
    """One checkpoint: its errors on the test images, and what they say.

    Attributes:
        model (str): Stem of the config.
        checkpoint (str): File of the weights.
        errors (ProposalErrors): On the test images.
        stds (dict[str, ProposalErrors]): The same 'as predicted' and, its
            stds scaled, 'recalibrated'; empty without stds.
        figures (dict[str, dict[str, float]]): Of each of those two, and of
            'objectness'.
    """

    model: str
    checkpoint: str
    errors: ProposalErrors
    stds: Dict[str, ProposalErrors]
    figures: Dict[str, Figures]


def measure(
    config: str, checkpoint: str, proposals: int, images: int
) -> Measured:
    """Run a first stage over the images and compute its figures."""
    stage = FirstStageErrors(config, checkpoint)
    errors = stage.errors('test', proposals, images)
    stds = {}
    figures = {
        'objectness': objectness_calibration(errors.scores, errors.hits)
    }
    if len(errors.errors):
        train = stage.errors('train', proposals, images)
        factors = {
            'as predicted': 1.0,
            'recalibrated': fit_std_scale(train.errors, train.stds),
        }
        for name, factor in factors.items():
            stds[name] = errors._replace(stds=factor * errors.stds)
            figures[name] = dict(
                std_calibration(*stds[name][2:]), factor=factor
            )
    return Measured(Path(config).stem, checkpoint, errors, stds, figures)


def group(runs: Sequence[Measured]) -> Dict[str, List[Measured]]:
    """Runs by their config."""
    groups: Dict[str, List[Measured]] = {}
    for run in runs:
        groups.setdefault(run.model, []).append(run)
    return groups


def format_tables(runs: Sequence[Measured]) -> str:
    """Two tables in Markdown, of the stds and of the scores."""
    stds, scores = [], []
    for model, own in group(runs).items():
        for kind in own[0].stds:
            name = f'{model}, {kind}'
            stds.append(_row(name, kind, own, STD_COLUMNS))
        scores.append(_row(model, 'objectness', own, OBJECTNESS_COLUMNS))
    tables = [Table('', ['', *OBJECTNESS_COLUMNS], scores)]
    if stds:
        tables.insert(0, Table('', ['', *STD_COLUMNS], stds))
    return '\n\n'.join(table.markdown() for table in tables)


def _row(
    name: str, kind: str, runs: Sequence[Measured], columns: Dict[str, str]
) -> List[str]:
    """Mean and range of each column; a dash where a run has no value."""
    cells = [name]
    for key in columns.values():
        values = [run.figures[kind].get(key) for run in runs]
        if None in values:
            cells.append('-')
            continue
        cell = f'{np.mean(values):.3f}'
        if min(values) < max(values):
            cell += f' ({min(values):.3f} to {max(values):.3f})'
        cells.append(cell)
    return cells


def draw(runs: Sequence[Measured], path: Path) -> None:
    """Draw both reliabilities, checkpoints of one config pooled."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5.6), layout='constrained'
    )
    for i, (model, own) in enumerate(group(runs).items()):
        for kind, line in zip(own[0].stds, ('-', '--')):
            _, _, errors, stds, _ = concatenate(
                [run.stds[kind] for run in own]
            )
            draw_coverage(
                *(left, LEVELS, coverage(errors, stds), f'{model}, {kind}'),
                color=f'C{i}',
                linestyle=line,
            )
        pooled = concatenate([run.errors for run in own])
        diagram = reliability_diagram(pooled.scores, pooled.hits)
        draw_reliability(right, *diagram, label=model, color=f'C{i}')
    left.set_title('standard deviation of the edges')
    right.set_title('objectness')
    for ax in (left, right):
        if ax.lines:
            ax.legend(loc='upper left', fontsize='x-small')
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'pairs', nargs='+', metavar='CONFIG CHECKPOINT', help='one or more'
    )
    parser.add_argument('-o', '--out-dir', type=Path, required=True)
    parser.add_argument(
        '--proposals', type=int, default=100, help='of an image, the best'
    )
    parser.add_argument(
        '--images', type=int, default=2000, help='of a split, at most'
    )
    args = parser.parse_args()
    if len(args.pairs) % 2:
        parser.error('each config needs a checkpoint behind it')
    runs = []
    pairs = list(zip(args.pairs[::2], args.pairs[1::2]))
    try:
        check_namesakes([(Path(config).stem, config) for config, _ in pairs])
    except (OSError, ValueError) as error:
        sys.exit(f'calibration: {error}')
    for config, checkpoint in pairs:
        try:
            runs.append(
                measure(config, checkpoint, args.proposals, args.images)
            )
        except (OSError, ValueError) as error:
            sys.exit(f'{config}, {checkpoint}: {error}')
    args.out_dir.mkdir(parents=True, exist_ok=True)
    tables = format_tables(runs)
    (args.out_dir / 'tables.md').write_text(f'{tables}\n')
    figures = [
        dict(model=run.model, checkpoint=run.checkpoint, **run.figures)
        for run in runs
    ]
    text = json.dumps(figures, indent=1)
    (args.out_dir / 'figures.json').write_text(f'{text}\n')
    draw(runs, args.out_dir / 'reliability.png')
    print(f'\n{tables}\n\npicture: {args.out_dir / "reliability.png"}')


if __name__ == '__main__':
    main()
