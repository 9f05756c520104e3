"""Average recall, as an ablation reports it."""

from typing import Dict, List, NamedTuple

import numpy as np

from ..recall import ObjectRanks

# At how many proposals recall is given.
NUMBERS = (10, 30, 100, 300)
# Of objects by size, the smallest first.
QUARTERS = ('q1', 'q2', 'q3', 'q4')
ALL, CLASS_MEAN = 'all', 'class mean'


def recall_figures(objects: ObjectRanks) -> Dict[str, Dict[str, float]]:
    """Average recall of all objects and of groups of them.

    Args:
        objects (ObjectRanks): Of all test images, at least one.

    Returns:
        dict[str, dict[str, float]]: By ``AR@10`` and so on: of ``all``
        objects, the ``class mean``, of the quarters by size ``q1``, the
        smallest, to ``q4``, and of each class as ``class: name``. In [0, 1];
        a quarter without objects is left out.
    """
    edges = np.quantile(objects.sizes, (0.25, 0.5, 0.75))
    quarters = np.searchsorted(edges, objects.sizes)
    groups = {name: quarters == i for i, name in enumerate(QUARTERS)}
    figures = {}
    for number in NUMBERS:
        recall = (objects.ranks < number).mean(axis=1)
        by_class = {
            name: float(recall[objects.classes == name].mean())
            for name in np.unique(objects.classes)
        }
        figures[f'AR@{number}'] = {
            ALL: float(recall.mean()),
            CLASS_MEAN: float(np.mean(list(by_class.values()))),
            **{
                name: float(recall[group].mean())
                for name, group in groups.items()
                if group.any()
            },
            **{f'class: {name}': x for name, x in by_class.items()},
        }
    return figures


class Figure(NamedTuple):
    """A column of a table.

    Attributes:
        title (str): Its heading.
        recall (str): Name of the recall.
        group (str): Of which objects.
    """

    title: str
    recall: str
    group: str

    def read(self, result: dict) -> float:
        """Its value in a result, in points."""
        return 100 * result['figures'][self.recall][self.group]


def figures_of(classes: int) -> List[Figure]:
    """Columns of the tables of a data set with so many classes."""
    figures = [Figure('AR@10', 'AR@10', ALL), Figure('AR@100', 'AR@100', ALL)]
    if classes > 1:
        figures.append(Figure('class mean', 'AR@100', CLASS_MEAN))
    return [*figures, Figure('smallest quarter', 'AR@100', QUARTERS[0])]
