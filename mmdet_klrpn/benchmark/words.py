"""Sentences of a report: what a figure means, and no more than it shows."""

from .quantities import PRECISIONS, Quantity
from .statistics import Difference
from .summary import PairSummary
from .tables import show_interval

INTERVALS = (
    'A difference is the mean over the seeds that both detectors have, '
    'KL-RPN minus RPN, in points.',
    "Over seeds: the 95% interval of Student's t of the differences "
    'paired by seed. It says what other seeds would do on the same images.',
    'Over images: the 95% percentile interval of a paired bootstrap, in which '
    'the test images are drawn again with replacement, the same images for '
    'both detectors and all seeds. It says what other images of the same kind '
    'would do to these very models.',
    'A difference is in bold, up or down, if both intervals exclude 0. '
    'With so many differences, one in twenty would exclude 0 by chance in '
    'either interval.',
)
COSTS = (
    "FLOPs are mmengine's: a multiplication and its addition count as "
    'one, NMS and RoI pooling as none; mean over the first test images, with '
    'the proposals that the detector makes there.',
    "Training is the median of mmengine's log. Times of different "
    'processes compare only where the machine was idle; the second '
    "stage's times at several numbers of proposals are of one process, "
    'taken in turns.',
    'Inference memory is what CUDA allocated for tensors or, on a CPU, the '
    'largest size of the whole process that measured.',
)
TRADE_OFF = (
    'The second stage is given the best proposals of the same features: '
    'only their number changes. Its own time is that at the number in the '
    'config, of the same images in the same process.'
)


def verdict(summary: PairSummary) -> str:
    """The difference in AP in a sentence."""
    quantity = PRECISIONS[0]
    found = summary.differences.get(quantity.name)
    if found is None:
        return 'Not measured.'
    shown = quantity.show(found.mean, '+')
    return (
        f'AP {shown} ({_intervals(quantity, found, len(summary.seeds))}): '
        + (_clear(found))
    )


def _clear(found: Difference) -> str:
    if found.over_seeds is None:
        return 'one seed decides nothing.'
    if not found.clear:
        return 'a difference of 0 is not excluded.'
    return 'KL-RPN is ' + ('higher.' if found.mean > 0 else 'lower.')


def _intervals(quantity: Quantity, found: Difference, seeds: int) -> str:
    parts = []
    if found.over_seeds is not None:
        over = show_interval(quantity, found.over_seeds)
        parts.append(f'95% over {seeds} seeds {over}')
    else:
        parts.append('one seed, no interval over seeds')
    if found.over_images is not None:
        over = show_interval(quantity, found.over_images)
        parts.append(f'over images {over}')
    return '; '.join(parts)
