"""Objects, and the groups in which recall is looked at: classes and sizes."""

from typing import (
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

ALL = 'all objects'
MEAN = 'mean of classes'
Row = Dict[str, Optional[float]]


class Objects(NamedTuple):
    """Objects of a data set, or of an image of it; crowds are none.

    Attributes:
        bboxes (np.ndarray): (k, 4) x1, y1, x2, y2 in pixels of the original
            image.
        labels (np.ndarray): (k, ), int.
    """

    bboxes: np.ndarray
    labels: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Square roots of the boxes' areas, (k, ), in pixels."""
        return np.sqrt(np.prod(self.bboxes[:, 2:] - self.bboxes[:, :2], 1))


class Groups(NamedTuple):
    """Which objects are in which group.

    Attributes:
        classes (dict[str, np.ndarray]): (k, ) bool by name; empty of a single
            class, which is all objects.
        quarters (dict[str, np.ndarray]): (k, ) bool of each size quarter.
    """

    classes: Dict[str, np.ndarray]
    quarters: Dict[str, np.ndarray]

    def parts(self, statistic: Callable[[np.ndarray], float]) -> Row:
        """A statistic of each class and of each quarter.

        Args:
            statistic (Callable): From (k, ) bool, at least one of which is
                True, to a value.

        Returns:
            dict[str, float]: None of a group without an object, or where the
            statistic is not finite.
        """
        return {
            name: _finite(statistic, members)
            for name, members in {**self.classes, **self.quarters}.items()
        }

    def row(self, statistic: Callable[[np.ndarray], float]) -> Row:
        """The same of all objects and, before the parts, the mean of classes.

        The latter is over the classes with an object; None if one of those
        has no value.
        """
        every = np.ones_like(next(iter(self.quarters.values())))
        row = {ALL: _finite(statistic, every)}
        parts = self.parts(statistic)
        if self.classes:
            values = [parts[n] for n, own in self.classes.items() if own.any()]
            known = values and None not in values
            row[MEAN] = float(np.mean(values)) if known else None
        return {**row, **parts}


def _finite(
    statistic: Callable[[np.ndarray], float], members: np.ndarray
) -> Optional[float]:
    value = float(statistic(members)) if members.any() else np.nan
    return value if np.isfinite(value) else None


def size_edges(objects: Objects) -> np.ndarray:
    """Quartiles of the objects' sizes, (3, ), in pixels of the image.

    Raises:
        ValueError: If there is no object.
    """
    if not len(objects.labels):
        raise ValueError('the test set has no object to measure anything by')
    return np.quantile(objects.sizes, [0.25, 0.5, 0.75])


def quarter_names(edges: np.ndarray) -> List[str]:
    """What the four quarters between three edges are called."""
    low, mid, high = (f'{edge:.0f}' for edge in edges)
    return [
        f'Q1, to {low} px',
        f'Q2, to {mid} px',
        f'Q3, to {high} px',
        f'Q4, over {high} px',
    ]


def quarter_areas(edges: np.ndarray) -> Dict[str, Tuple[float, float]]:
    """Least and greatest area of each quarter, in square pixels.

    COCO counts both ends of a range; a limit is therefore a hair above the
    edge, at which an object may be, and which is the lower quarter's.
    """
    limits = [0.0, *((1 + 1e-9) * np.square(edges)).tolist(), 1e10]
    return dict(zip(quarter_names(edges), zip(limits, limits[1:])))


def make_groups(
    objects: Objects, classes: Sequence[str], edges: np.ndarray
) -> Groups:
    """Group objects by class and by size.

    Args:
        objects (Objects): Of the test set, or others by the same edges.
        classes (Sequence[str]): Names of the labels.
        edges (np.ndarray): (3, ) of :func:`size_edges`; an object of the size
            of an edge is in the quarter below it.
    """
    quarter = np.digitize(objects.sizes, edges, right=True)
    by_class = {name: objects.labels == i for i, name in enumerate(classes)}
    return Groups(
        by_class if len(classes) > 1 else {},
        {name: quarter == i for i, name in enumerate(quarter_names(edges))},
    )
