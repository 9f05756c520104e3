"""How few proposals give the accuracy that the baseline needs more for."""

from typing import List, NamedTuple, Optional

from .columns import PROPOSAL_NUMBERS
from .summary import PairSummary

# What is kept of a run at a number of proposals, as Point has it.
_KEYS = ('AP', 'second_stage_ms', 'second_stage_share', 'mean_proposals')
_CAVEAT = 'These are means over seeds, without an interval.'


class Point(NamedTuple):
    """A model at a number of proposals: means over seeds.

    Attributes:
        number (int): Of proposals.
        ap (float): In [0, 1].
        second_stage_ms (float): Time of the second stage.
        share (float): Of its time at the config's own number, measured in
            turns in one process.
        mean_proposals (float): How many there are, which may be fewer.
    """

    number: int
    ap: float
    second_stage_ms: float
    share: float
    mean_proposals: float


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
        mean = (sum(m[key] for m in measured) / len(measured) for key in _KEYS)
        found.append(Point(number, *mean))
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
    start += f'is reached by KL-RPN with {ours.number}, {100 * ours.ap:.1f}'
    if ours.number == own:
        return f'{start}: none is saved. {_CAVEAT}'
    more = 'less' if ours.share < 1 else 'more'
    return (
        f'{start}: its second stage then takes {abs(1 - ours.share):.0%} '
        f'{more} time than with {own}. {_CAVEAT}'
    )
