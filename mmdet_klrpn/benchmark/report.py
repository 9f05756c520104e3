"""A report in four forms: page, Markdown, CSV and JSON."""

import json
from pathlib import Path
from typing import List, Sequence

from .page import to_html
from .plan import Plan
from .quantities import QUANTITIES
from .sections import Fold, Section, sections
from .summary import PairSummary
from .tables import to_csv
from .trade_off import reaches


def write_report(
    plan: Plan, summaries: Sequence[PairSummary], out: Path
) -> List[Path]:
    """Write a report's files.

    Args:
        plan (Plan): For title and note.
        summaries (Sequence[PairSummary]): What it tells.
        out (Path): Folder of the files, made if missing.

    Returns:
        list[Path]: The files: a page that needs no other file, Markdown, all
        values of all runs as CSV, and means, differences and intervals as
        JSON.
    """
    parts = sections(plan, summaries)
    contents = {
        'index.html': to_html(plan.title, parts),
        'report.md': to_markdown(plan.title, parts),
        'results.csv': to_csv(summaries),
        'results.json': json.dumps(to_json(summaries), indent=1) + '\n',
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (out / name).write_text(text)
    return [out / name for name in contents]


def to_markdown(title: str, parts: Sequence[Section]) -> str:
    """A report without its plots and configs."""
    blocks = [f'# {title}']
    for part in parts:
        blocks += [f'## {part.title}', *part.paragraphs]
        folded = [fold for fold in part.folded if not isinstance(fold, Fold)]
        for table in (*part.tables, *folded):
            blocks += [f'### {table.title}', table.markdown()]
    return '\n\n'.join(blocks) + '\n'


def to_json(summaries: Sequence[PairSummary]) -> List[dict]:
    """Values, differences and intervals of each pair, in [0, 1] or units."""
    return [
        dict(
            pair=summary.pair.name,
            seeds=summary.seeds,
            notes=summary.notes,
            values={
                quantity.name: {
                    model: [quantity.read(run) for run in runs]
                    for model, runs in summary.models
                }
                for quantity in QUANTITIES
            },
            differences={
                name: found._asdict()
                for name, found in summary.differences.items()
            },
            reaches=[
                dict(
                    baseline=reach.baseline._asdict(),
                    kl_rpn=reach.kl_rpn and reach.kl_rpn._asdict(),
                )
                for reach in (reaches(summary) if summary.seeds else ())
            ],
        )
        for summary in summaries
    ]
