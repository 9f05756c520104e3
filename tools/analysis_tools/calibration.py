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
from typing import Dict, List, NamedTuple

import matplotlib
import pandas as pd

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
from mmdet_klrpn.utils import distinct_names
from mmdet_klrpn.visualization import draw_coverage, draw_reliability

matplotlib.use('Agg')
from matplotlib import pyplot as plt

STD_COLUMNS = {
    'factor': 'factor',
    'coverage@50': '50%',
    'coverage@80': '80%',
    'coverage@95': '95%',
    'std_calibration_error': 'error',
    'nll': 'NLL',
    'nll_constant': 'NLL, constant',
    'std': 'std, px',
    'std_error_correlation': 'corr.',
    'std_error_rank_correlation': 'rank corr.',
    'relative_std_error_rank_correlation': 'rank corr., by size',
}
OBJECTNESS_COLUMNS = {
    'objectness_ece': 'ECE',
    'objectness_brier': 'Brier',
    'objectness_mean': 'mean score',
    'hit_rate': 'on an object',
}


class Measured(NamedTuple):
    """A checkpoint, its errors on the test images, and what they say.

    ``stds`` has the errors 'as predicted' and, with scaled stds,
    'recalibrated', or nothing without stds; ``figures`` has those of each,
    and of 'objectness'.
    """

    model: str
    checkpoint: str
    errors: ProposalErrors
    stds: Dict[str, ProposalErrors]
    figures: Dict[str, Dict[str, float]]


def measure(
    model: str, config: str, checkpoint: str, proposals: int, images: int
) -> Measured:
    """Run a first stage over the images and compute its figures."""
    stage = FirstStageErrors(config, checkpoint)
    errors = stage.errors('test', proposals, images)
    stds, figures = {}, {}
    if len(errors.errors):
        train = stage.errors('train', proposals, images)
        factor = fit_std_scale(train.errors, train.stds)
        for kind, scale in (('as predicted', 1.0), ('recalibrated', factor)):
            stds[kind] = errors._replace(stds=scale * errors.stds)
            figures[kind] = std_calibration(*stds[kind][2:])
            figures[kind]['factor'] = scale
    figures['objectness'] = objectness_calibration(errors.scores, errors.hits)
    return Measured(model, checkpoint, errors, stds, figures)


def format_tables(runs: List[Measured]) -> str:
    """Two tables in Markdown, of the stds and of the scores."""
    stds, scores = [], []
    for run in runs:
        for kind, values in run.figures.items():
            if kind == 'objectness':
                scores.append({'': run.model, **values})
            else:
                stds.append({'': f'{run.model}, {kind}', **values})
    tables = ((stds, STD_COLUMNS), (scores, OBJECTNESS_COLUMNS))
    return '\n\n'.join(
        pd.DataFrame(rows, columns=['', *columns])
        .groupby('', sort=False)
        .agg(_mean_and_range)
        .rename(columns=columns)
        .to_markdown(disable_numparse=True)
        for rows, columns in tables
        if rows
    )


def _mean_and_range(values: pd.Series) -> str:
    """Of one column over runs; a dash where a run has no value."""
    if values.isna().any():
        return '-'
    low, high = values.min(), values.max()
    spread = f' ({low:.3f} to {high:.3f})' if low < high else ''
    return f'{values.mean():.3f}{spread}'


def draw(runs: List[Measured], path: Path) -> None:
    """Draw both reliabilities, checkpoints of one config pooled."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5.6), layout='constrained'
    )
    for i, model in enumerate(dict.fromkeys(run.model for run in runs)):
        own = [run for run in runs if run.model == model]
        for kind, line in zip(own[0].stds, ('-', '--')):
            pooled = concatenate([run.stds[kind] for run in own])
            covered = coverage(pooled.errors, pooled.stds)
            style = dict(color=f'C{i}', linestyle=line)
            draw_coverage(left, LEVELS, covered, f'{model}, {kind}', **style)
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
    configs, checkpoints = args.pairs[::2], args.pairs[1::2]
    if len(configs) != len(checkpoints):
        parser.error('each config needs a checkpoint behind it')
    runs = []
    for given in zip(distinct_names(configs), configs, checkpoints):
        try:
            runs.append(measure(*given, args.proposals, args.images))
        except (OSError, ValueError) as error:
            sys.exit(f'{given[1]}, {given[2]}: {error}')
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
