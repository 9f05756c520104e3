#!/usr/bin/env python
"""Measure whether proposals know how sure they are, and draw it.

For each pair of a config and a checkpoint, on the images of test_dataloader:
whether KL-RPN's stds are those of the errors, as predicted and with the factor
that is fitted on the training images, and whether the scores, also an
ordinary RPN's, are the probability of an object. Checkpoints of one config,
such as several seeds, share a row: the mean and, in brackets, the range.
"""

import json
from pathlib import Path
from typing import Dict, List, Tuple

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


def measure(
    stage: FirstStageErrors, top: int, images: int
) -> Tuple[Dict[str, Dict[str, float]], Dict[str, ProposalErrors]]:
    """Run a first stage over the test images.

    Returns:
        tuple[dict, dict]: Figures, and the errors that they are of, for
        'objectness' and, if there are stds, for these 'as predicted' and,
        scaled by the factor of the training images, 'recalibrated'.
    """
    given = stage.errors('test', top, images)
    figures, errors = {}, {}
    if len(given.errors):
        train = stage.errors('train', top, images)
        factor = fit_std_scale(train.errors, train.stds)
        for kind, scale in (('as predicted', 1.0), ('recalibrated', factor)):
            errors[kind] = given._replace(stds=scale * given.stds)
            figures[kind] = std_calibration(*errors[kind][2:])
            figures[kind]['factor'] = scale
    figures['objectness'] = objectness_calibration(given.scores, given.hits)
    return figures, dict(errors, objectness=given)


def format_tables(runs: List[dict]) -> str:
    """Two tables in Markdown, of the stds and of the scores."""
    stds, scores = [], []
    for run in runs:
        scores.append({'': run['model'], **run['objectness']})
        for kind in ('as predicted', 'recalibrated'):
            if kind in run:
                stds.append({'': f'{run["model"]}, {kind}', **run[kind]})
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


def draw(
    errors: Dict[Tuple[str, str], List[ProposalErrors]], path: Path
) -> None:
    """Draw both reliabilities from the errors by model and kind, pooled."""
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
        'pairs', nargs='+', metavar='CONFIG CHECKPOINT', help='one or more'
    )
    parser.add_cfg_options()
    parser.add_device()
    parser.add_argument(
        '--out', type=Path, required=True, help='folder to write'
    )
    parser.add_sample()
    args = parser.parse_args()
    configs, checkpoints = args.pairs[::2], args.pairs[1::2]
    if len(configs) != len(checkpoints):
        parser.error('each config needs a checkpoint behind it')
    runs: List[dict] = []
    errors: Dict[Tuple[str, str], List[ProposalErrors]] = {}
    models = distinct_names(configs)
    args.out.mkdir(parents=True, exist_ok=True)
    for model, name, checkpoint in zip(models, configs, checkpoints):
        try:
            config = read_config(name, args.cfg_options)
            stage = FirstStageErrors(config, checkpoint, args.device)
            figures, own = measure(stage, args.top, args.images)
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
