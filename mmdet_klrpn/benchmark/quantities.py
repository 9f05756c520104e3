"""What a report tells of a run, where it is found and how it is printed."""

from typing import Callable, List, NamedTuple, Optional

from .columns import AP_NAMES, RECALL_NUMBERS

# Of what was not measured.
DASH = '\N{EN DASH}'


class Quantity(NamedTuple):
    """A figure of a run.

    Attributes:
        name (str): Its heading.
        read (Callable): From a run's metrics to its value, None if missing.
        scale (float): Of the printed value.
        digits (int): Behind its point.
        kind (str): 'AP', 'AR' or 'cost'.
    """

    name: str
    read: Callable[[dict], Optional[float]]
    scale: float
    digits: int
    kind: str

    def show(self, value: Optional[float], sign: str = '') -> str:
        """A value as it is printed; a dash if there is none."""
        if value is None:
            return DASH
        return f'{value * self.scale:{sign}.{self.digits}f}'


def _precision(name: str) -> Quantity:
    def read(metrics: dict) -> Optional[float]:
        return metrics['by_proposals'][str(metrics['num_proposals'])][name]

    return Quantity(name.replace('_', ' '), read, 100, 1, 'AP')


def _recall(number: int) -> Quantity:
    def read(metrics: dict) -> Optional[float]:
        return average_recall(metrics, 'all', number)

    return Quantity(f'AR@{number}', read, 100, 1, 'AR')


def _recall_of_size(area: str) -> Quantity:
    number = RECALL_NUMBERS[-1]

    def read(metrics: dict) -> Optional[float]:
        return average_recall(metrics, area, number)

    name = f'AR {area[0].upper()}@{number}'
    return Quantity(name, read, 100, 1, 'AR')


def _cost(name: str, key: str, scale: float, digits: int) -> Quantity:
    def read(metrics: dict) -> Optional[float]:
        return metrics['cost'][key]

    return Quantity(name, read, scale, digits, 'cost')


def average_recall(metrics: dict, area: str, number: int) -> Optional[float]:
    """Recall of a run's proposals, a mean over IoU thresholds."""
    recall = metrics['recall'][area][str(number)]
    return None if None in recall else sum(recall) / len(recall)


PRECISIONS: List[Quantity] = [_precision(name) for name in AP_NAMES]
RECALLS: List[Quantity] = [
    *map(_recall, RECALL_NUMBERS),
    *map(_recall_of_size, ('small', 'medium', 'large')),
]
COSTS: List[Quantity] = [
    _cost('parameters, M', 'parameters', 1e-6, 2),
    _cost('FLOPs, G', 'flops', 1e-9, 2),
    _cost('training, s/iteration', 'train_s_per_iter', 1, 3),
    _cost('training memory, MB', 'train_memory_mb', 1, 0),
    _cost('inference, ms/image', 'inference_ms', 1, 1),
    _cost('inference memory, MB', 'peak_memory_mb', 1, 0),
]
QUANTITIES = PRECISIONS + RECALLS + COSTS
