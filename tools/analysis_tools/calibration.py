#!/usr/bin/env python
"""Measure the calibration of the stds and scores of boxes.

Compares the stds with the errors of the boxes on the test images, as predicted
and with a factor fitted on other images; and the scores, also those of an
ordinary detector, with the frequency of objects. Writes tables, figures and a
picture. Checkpoints of one config, such as several seeds, share a row: the
mean and, in brackets, the range.
"""

import json
from pathlib import Path
from typing import Dict, List, Tuple

import matplotlib
import numpy as np
import pandas as pd

from mmdet_klrpn.evaluation import STAGES, FirstStageErrors
from mmdet_klrpn.evaluation.functional import (
    COVERAGES,
    LEVELS,
    ProposalErrors,
    concatenate,
    coverage,
    fit_std_scale,
    interval_factors,
    objectness_calibration,
    reliability_diagram,
    review,
    std_calibration,
)
from mmdet_klrpn.utils import (
    ToolParser,
    distinct_names,
    one_line_errors,
    read_config,
)
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
    'nll_share': 'NLL, share of size',
    'std': 'std, px',
    'std_error_correlation': 'corr.',
    'std_error_rank_correlation': 'rank corr.',
    'relative_std_error_rank_correlation': 'rank corr., by size',
}
INTERVAL_COLUMNS = {
    **{f'factor@{p}': f'factor, {p}%' for p in COVERAGES},
    **{f'coverage@{p}': f'{p}%' for p in COVERAGES},
    'poor': 'IoU < 0.75',
    'poor_by_std': 'of the least sure tenth',
    'poor_by_score': 'of the lowest-scored tenth',
}
OBJECTNESS_COLUMNS = {
    'objectness_ece': 'ECE',
    'objectness_brier': 'Brier',
    'objectness_mean': 'mean score',
    'hit_rate': 'on an object',
}


def measure(
    stage: FirstStageErrors, top: int, images: int, split: str
) -> Tuple[Dict[str, Dict[str, float]], Dict[str, ProposalErrors]]:
    """Run a detector over the test images, and over those to fit on.

    Returns:
        tuple[dict, dict]: Figures, and the errors they describe. The keys are
        'objectness' and, if there are stds, 'as predicted' and 'recalibrated'
        (scaled by the factor of the images of ``split``). Figures also have
        'intervals', see :func:`measure_intervals`.
    """
    given = stage.errors('test', top, images)
    figures, errors = {}, {}
    if len(given.errors):
        fitted = stage.errors(split, top, images)
        factor = fit_std_scale(fitted.errors, fitted.stds)
        for kind, scale in (('as predicted', 1.0), ('recalibrated', factor)):
            errors[kind] = given._replace(stds=scale * given.stds)
            figures[kind] = std_calibration(*errors[kind][2:])
            figures[kind]['factor'] = scale
        figures['intervals'] = measure_intervals(given, fitted)
    figures['objectness'] = objectness_calibration(given.scores, given.hits)
    return figures, dict(errors, objectness=given)


def measure_intervals(
    given: ProposalErrors, fitted: ProposalErrors
) -> Dict[str, float]:
    """Intervals of any shape of errors, and what the stds flag for review.

    Returns:
        dict[str, float]: By coverage, the factor on a std that holds as many
        of the ``fitted`` errors, and the share that it holds of the ``given``
        ones; and :func:`review`'s figures.
    """
    levels = [percent / 100 for percent in COVERAGES]
    factors = interval_factors(fitted.errors, fitted.stds, levels)
    figures = review(*given[2:], given.scores[given.hits])
    for percent, factor in zip(COVERAGES, factors):
        held = np.abs(given.errors) <= factor * given.stds
        figures[f'factor@{percent}'] = float(factor)
        figures[f'coverage@{percent}'] = float(held.mean())
    return figures


def format_tables(runs: List[dict]) -> str:
    """Format tables of stds, intervals and scores in Markdown."""
    stds, intervals, scores = [], [], []
    for run in runs:
        scores.append({'': run['model'], **run['objectness']})
        if 'intervals' in run:
            intervals.append({'': run['model'], **run['intervals']})
        for kind in ('as predicted', 'recalibrated'):
            if kind in run:
                stds.append({'': f'{run["model"]}, {kind}', **run[kind]})
    tables = (
        (stds, STD_COLUMNS),
        (intervals, INTERVAL_COLUMNS),
        (scores, OBJECTNESS_COLUMNS),
    )
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
    """Format a column over runs; a dash if a run has no value."""
    if values.isna().any():
        return '-'
    low, high = values.min(), values.max()
    spread = f' ({low:.3f} to {high:.3f})' if low < high else ''
    return f'{values.mean():.3f}{spread}'


def draw(
    errors: Dict[Tuple[str, str], List[ProposalErrors]], path: Path
) -> None:
    """Draw reliability diagrams of stds and scores, pooled over runs."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5.6), layout='constrained'
    )
    models = list(dict.fromkeys(model for model, _ in errors))
    for (model, kind), parts in errors.items():
        pooled, color = concatenate(parts), f'C{models.index(model)}'
        if kind == 'objectness':
            diagram = reliability_diagram(pooled.scores, pooled.hits)
            draw_reliability(right, *diagram, label=model, color=color)
        else:
            curve = (LEVELS, coverage(pooled.errors, pooled.stds))
            line = '-' if kind == 'as predicted' else '--'
            style = dict(color=color, linestyle=line)
            draw_coverage(left, *curve, f'{model}, {kind}', **style)
    left.set_title('standard deviation of the edges')
    right.set_title('objectness')
    for ax in (left, right):
        if ax.lines:
            ax.legend(loc='upper left', fontsize='x-small')
    figure.savefig(path, dpi=100)
    plt.close(figure)


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_argument(
        'pairs', nargs='+', metavar='CONFIG CHECKPOINT', help='detectors'
    )
    parser.add_cfg_options()
    parser.add_device()
    parser.add_argument(
        '--out', type=Path, required=True, help='output folder'
    )
    parser.add_sample()
    parser.add_argument(
        '--score-thr', type=float, default=0, help='least score of a box'
    )
    args = parser.parse_args()
    configs, checkpoints = args.pairs[::2], args.pairs[1::2]
    if len(configs) != len(checkpoints):
        parser.error('each config needs a checkpoint after it')
    runs: List[dict] = []
    errors: Dict[Tuple[str, str], List[ProposalErrors]] = {}
    models = distinct_names(configs)
    args.out.mkdir(parents=True, exist_ok=True)
    for model, name, checkpoint in zip(models, configs, checkpoints):
        try:
            config = read_config(name, args.cfg_options)
            stage = STAGES[args.of](
                config, checkpoint, args.device, args.score_thr
            )
            split = args.split or stage.split
            figures, own = measure(stage, args.top, args.images, split)
        except ValueError as error:
            raise ValueError(f'{name}, {checkpoint}: {error}') from error
        runs.append(dict(model=model, checkpoint=checkpoint, **figures))
        for kind, value in own.items():
            errors.setdefault((model, kind), []).append(value)
    tables = format_tables(runs)
    (args.out / 'tables.md').write_text(f'{tables}\n')
    text = json.dumps(runs, indent=1)
    (args.out / 'figures.json').write_text(f'{text}\n')
    draw(errors, args.out / 'reliability.png')
    print(f'\n{tables}\n\npicture: {args.out / "reliability.png"}')


if __name__ == '__main__':
    main()
