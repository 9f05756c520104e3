"""How few proposals give the accuracy that the baseline needs more for."""

from typing import List, NamedTuple, Optional

from .columns import PROPOSAL_NUMBERS
from .summary import PairSummary


class Point(NamedTuple):
    """A model at a number of proposals: means over seeds.

    Attributes:
        number (int): Of proposals.
        ap (float): In [0, 1].
        second_stage_ms (float): Time of the second stage.
    """

    number: int
    ap: float
    second_stage_ms: float


class Reach(NamedTuple):
    """The fewest proposals with which KL-RPN has the baseline's AP.

    Attributes:
        baseline (Point): The baseline at its number.
        kl_rpn (Point, optional): KL-RPN at the fewest that reach it, None if
            none of those measured does.
    """

    baseline: Point
    kl_rpn: Optional[Point]


def points(runs: List[dict]) -> List[Point]:
    """AP at each number of proposals."""
    numbers = {*PROPOSAL_NUMBERS, *(run['num_proposals'] for run in runs)}
    found = []
    for number in sorted(numbers):
        measured = [run['by_proposals'].get(str(number)) for run in runs]
        if None in measured or None in [m['AP'] for m in measured]:
            continue
        mean = {
            key: sum(m[key] for m in measured) / len(measured)
            for key in ('AP', 'second_stage_ms')
        }
        found.append(Point(number, mean['AP'], mean['second_stage_ms']))
    return found


def reaches(summary: PairSummary) -> List[Reach]:
    """For each number of proposals of the baseline, what KL-RPN needs."""
    kl_rpn = points(summary.kl_rpn)
    return [
        Reach(
            base,
            next((point for point in kl_rpn if point.ap >= base.ap), None),
        )
        for base in points(summary.baseline)
    ]


def statement(summary: PairSummary) -> str:
    """What the mean over seeds says at the config's own number."""
    own = summary.baseline[0]['num_proposals']
    (reach,) = (r for r in reaches(summary) if r.baseline.number == own)
    base, ours = reach
    start = f"RPN's AP at {own} proposals, {100 * base.ap:.1f}, "
    if ours is None:
        return start + 'is not reached by KL-RPN at any number measured.'
    ratio = ours.second_stage_ms / base.second_stage_ms
    change = f'{abs(1 - ratio):.0%} {"less" if ratio < 1 else "more"}'
    return start + (
        f'is reached by KL-RPN with {ours.number}, {100 * ours.ap:.1f}; its '
        f'second stage takes {ours.second_stage_ms:.1f} ms there, against '
        f'{base.second_stage_ms:.1f} ms: {change}. Means over seeds, without '
        'an interval.'
    )
