"""An ablation's tables, as Markdown and JSON."""

import json
from pathlib import Path
from statistics import median
from typing import List

from ..progress import format_time
from ..quantities import DASH
from ..tables import Table
from .figures import Figure, figures_of
from .outcome import Comparison, Outcome, Outcomes

_WHAT = (
    'Heads trained alone. The features of a data set are computed once, in '
    "half precision, the training images' augmented anew in every epoch; each "
    "head is then trained on them by the config's own optimizer and schedule, "
    'and its proposals are compared with the objects of the test images. '
    'Backbone, neck and second stage do not learn with it: this is how '
    'settings are screened, and whole detectors decide.',
    'Figures are means over seeds, in points: average recall over IoU 0.5 to '
    '0.95 of the 10 or 100 best proposals of an image, whatever their class; '
    'of 100, the mean over classes too, where there are several, and the '
    'recall of the smallest quarter of the objects. Behind each is its '
    "difference to the reference's, with the half width of the 95% interval "
    "of Student's t, paired by seed; bold where the interval excludes 0. With "
    'so many differences, one in twenty does so by chance. The interval '
    'knows of seeds alone, not of other images.',
)


def write_report(outcomes: Outcomes, out: Path) -> List[Path]:
    """Write a report's files.

    Args:
        outcomes (Outcomes): What it tells.
        out (Path): Folder of the files, made if missing.

    Returns:
        list[Path]: ``screening.md`` and, with every value of every seed,
        ``screening.json``.
    """
    contents = {
        'screening.md': to_markdown(outcomes),
        'screening.json': json.dumps(to_json(outcomes), indent=1) + '\n',
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (out / name).write_text(text)
    return [out / name for name in contents]


def to_markdown(outcomes: Outcomes) -> str:
    """Tables of every question, and where they come from."""
    plan = outcomes.plan
    blocks = [f'# {plan.title}', *([plan.note] if plan.note else []), *_WHAT]
    blocks.append(_features_table(outcomes).markdown())
    for question in plan.questions:
        blocks.append(f'## {question.question}')
        for comparison in outcomes.comparisons(question):
            table = comparison_table(comparison, plan.seeds)
            blocks += [f'### {table.title}', table.markdown()]
        if question.reason:
            blocks.append(question.reason)
    blocks += ['## Where it was measured', *_provenance(outcomes)]
    return '\n\n'.join(blocks) + '\n'


def comparison_table(comparison: Comparison, seeds: int) -> Table:
    """A row for each of a question's, the reference first.

    Args:
        comparison (Comparison): The question on one set of features.
        seeds (int): How many each row should have; what has fewer says so.
    """
    figures = figures_of(comparison.classes)
    rows = []
    for outcome in comparison.outcomes:
        name, count = outcome.row.name, len(outcome.results)
        if outcome is comparison.reference:
            name += ' (reference)'
        elif outcome.key == comparison.reference.key:
            name += ' (the same)'
        if count < seeds:
            name += f' ({count} of {seeds} seeds)'
        cells = [_cell(outcome, comparison, figure) for figure in figures]
        rows.append([name, *cells])
    header = ['', *(figure.title for figure in figures)]
    return Table(comparison.features, header, rows)


def _cell(outcome: Outcome, comparison: Comparison, figure: Figure) -> str:
    mean = outcome.mean(figure)
    if mean is None:
        return DASH
    if outcome.key == comparison.reference.key:
        return f'{mean:.1f}'
    found = outcome.difference(comparison.reference, figure)
    if found is None:
        return f'{mean:.1f}'
    shown = f'{found.mean:+.1f}'
    if found.clear:
        shown = f'**{shown}**'
    if found.over_seeds is not None:
        low, high = found.over_seeds
        shown += f' ± {(high - low) / 2:.1f}'
    return f'{mean:.1f} ({shown})'


def _features_table(outcomes: Outcomes) -> Table:
    rows = []
    for features in outcomes.plan.features:
        known = outcomes.descriptions.get(features.name)
        weights = features.checkpoint or "the config's pretrained backbone"
        cells = [DASH] * 3
        if known:
            cells = [
                f'{known["train_images"]} in {known["epochs"]} epochs',
                f'{known["test_images"]}, {known["test_objects"]} objects',
                str(len(known['classes'])),
            ]
        files = [f'`{features.config}`', f'`{weights}`']
        if features.checkpoint is None:
            files[1] = weights
        rows.append([features.name, *files, *cells])
    header = ['', 'config', 'weights', 'training images', 'test images']
    return Table('Features', [*header, 'classes'], rows)


def _provenance(outcomes: Outcomes) -> List[str]:
    """How much was measured, how long it took, and every version."""
    results = outcomes.results()
    if not results:
        return ['Nothing is measured yet.']
    seconds = [result['training_s'] for result in results]
    extracted = [d['seconds'] for d in outcomes.descriptions.values()]
    optimizers = sorted({_optimizer(result) for result in results})
    rows = [['optimizer', '; '.join(optimizers)]]
    for key in results[0]['environment']:
        values = {str(r['environment'][key] or DASH) for r in results}
        rows.append([key, ', '.join(sorted(values))])
    return [
        f'{len(results)} results over {outcomes.plan.seeds} seeds. A training '
        f'takes {median(seconds):.0f} s of one core, the median, and all '
        f'features took {format_time(sum(extracted))} of one.',
        Table('Settings and versions', ['', 'value'], rows).markdown(),
    ]


def _optimizer(result: dict) -> str:
    """A result's optimizer and clipping; rows name their learning rates."""
    wrapper = result['settings']['optim_wrapper']
    parts = {**wrapper['optimizer'], **(wrapper.get('clip_grad') or {})}
    kind = parts.pop('type')
    del parts['lr']
    return ', '.join([kind, *(f'{key} {parts[key]}' for key in parts)])


def to_json(outcomes: Outcomes) -> dict:
    """Every value by seed, in points, with differences and intervals."""
    return dict(
        title=outcomes.plan.title,
        features=outcomes.descriptions,
        questions=[
            dict(
                question=question.question,
                reason=question.reason,
                comparisons=[
                    _comparison_json(comparison)
                    for comparison in outcomes.comparisons(question)
                ],
            )
            for question in outcomes.plan.questions
        ],
    )


def _comparison_json(comparison: Comparison) -> dict:
    rows = []
    for outcome in comparison.outcomes:
        figures = {}
        for figure in _every_figure(outcome):
            difference = outcome.difference(comparison.reference, figure)
            figures[f'{figure.recall}, {figure.group}'] = dict(
                values=[figure.read(r) for r in outcome.results.values()],
                mean=outcome.mean(figure),
                difference=difference and difference.mean,
                over_seeds=difference and difference.over_seeds,
            )
        rows.append(
            dict(
                **outcome.row._asdict(),
                reference=outcome is comparison.reference,
                seeds=list(outcome.results),
                figures=figures,
            )
        )
    return dict(features=comparison.features, rows=rows)


def _every_figure(outcome: Outcome) -> List[Figure]:
    """Every figure that results have."""
    for result in outcome.results.values():
        return [
            Figure(group, recall, group)
            for recall, groups in result['figures'].items()
            for group in groups
        ]
    return []
