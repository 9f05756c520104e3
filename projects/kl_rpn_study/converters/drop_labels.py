#!/usr/bin/env python
"""Leave objects of a COCO file unlabelled, at random or by class.

Trained on the result, a detector takes what nobody labelled for background.
The same objects are dropped on every machine.
"""

import json
from pathlib import Path
from typing import Sequence

import numpy as np

from mmdet_klrpn.utils import ToolParser, check_output, one_line_errors


def drop_labels(
    dataset: dict,
    keep: float = 1.0,
    without: Sequence[str] = (),
    seed: int = 0,
) -> dict:
    """Keep each object with the same probability; images and classes stay.

    Args:
        dataset (dict): As in a COCO file. Regions (``iscrowd``) stay: they are
            no objects, but say where not to look.
        keep (float): The probability, in (0, 1].
        without (Sequence[str]): Names of the classes to leave unlabelled, with
            their regions.
        seed (int): Of the draw, which does not depend on the classes.

    Raises:
        ValueError: If ``keep`` is out of its range, a class is unknown, or no
            object is left.
    """
    if not 0 < keep <= 1:
        raise ValueError(f'--keep must be in (0, 1], but is {keep}')
    ids = {c['name']: c['id'] for c in dataset['categories']}
    unknown = sorted(set(without) - set(ids))
    if unknown:
        raise ValueError(
            f'--without names {", ".join(unknown)}, but the classes are '
            f'{", ".join(ids)}'
        )
    dropped = {ids[name] for name in without}
    annotations = dataset.get('annotations', [])
    drawn = np.random.RandomState(seed).rand(len(annotations))
    kept = [
        annotation
        for annotation, number in zip(annotations, drawn)
        if annotation['category_id'] not in dropped
        and (annotation.get('iscrowd', 0) or number < keep)
    ]
    if not kept:
        raise ValueError(
            f'--keep {keep} leaves none of {len(annotations)} objects: '
            'raise it, or name fewer classes'
        )
    return dict(dataset, annotations=kept)


@one_line_errors()
def main() -> None:
    """Drop labels as the command line says."""
    parser = ToolParser(description=__doc__)
    parser.add_argument('source', type=Path, help='COCO annotations')
    parser.add_argument('out', type=Path, help='where the rest is written to')
    parser.add_argument(
        '--keep', type=float, default=1.0, help='probability of a label'
    )
    parser.add_argument(
        '--without',
        nargs='+',
        default=(),
        metavar='CLASS',
        help='classes that nobody labelled',
    )
    args = parser.parse_args()
    check_output(args.out, args.source)
    dataset = json.loads(args.source.read_text())
    rest = drop_labels(dataset, args.keep, args.without)
    args.out.write_text(json.dumps(rest))
    counts = [len(data['annotations']) for data in (rest, dataset)]
    print(f'{args.out}: {counts[0]} of {counts[1]} objects')


if __name__ == '__main__':
    main()
