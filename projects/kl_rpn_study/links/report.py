"""Links of several detectors side by side, as a page of Markdown."""

import numpy as np
import pandas as pd
from object_groups import CLASS
from seed_tables import markdown, show_difference

from mmdet_klrpn.benchmark.tables import DASH

_MEANING = """Means over seeds, in points if not a number of samples. A
difference to the first detector has the half width of Welch's 95% interval
over seeds, in bold if it excludes 0. One in twenty would do so by chance.

Measured on {images} {split} images with {objects} objects. Q1 to Q4 are
quarters of these objects by size, the square root of the box's area, with the
edges {edges} pixels. Samples are of {train_images} training images with
{train_objects} objects."""
# Title and meaning of each link.
LINKS = {
    'recall': (
        'Recall of the proposals',
        'Share of objects that the n best proposals of their image recall, '
        'whatever the class, a mean over IoU 0.5 to 0.95.',
    ),
    'ranking': (
        'Ranking of the proposals',
        'AP of the 100 best proposals of an image, as detections of a single '
        'class: whether objects rank before background.',
    ),
    'precision': (
        'Average precision, with one part made perfect',
        'AP of the detector, and with oracles for the class and score of each '
        'box, for the refined boxes, or for the proposals.',
    ),
    'objectness': (
        "Average precision with the proposals' scores",
        "AP of the same weights if a detection's score is the second stage's "
        "times a power of its proposal's.",
    ),
    'samples': (
        'What trains the RoI head',
        'Mean numbers in a training image of proposals assigned to an object, '
        "and of samples, to which objects' own boxes are added.",
    ),
    'samples by object': (
        'Positive proposals of each object',
        'Mean IoU of those sampled with their object; and the share of '
        'objects that none of them is of.',
    ),
}


def link_table(frame: pd.DataFrame, link: str) -> pd.DataFrame:
    """A row for each figure and detector, and for each difference.

    Args:
        frame (pd.DataFrame): ``detector``, ``seed``, ``link``, ``row``,
            ``group`` and ``value``; the first detector is the reference.
        link (str): One of ``LINKS``.
    """
    own = frame[frame['link'] == link]
    groups, (first, *others) = own['group'].unique(), own['detector'].unique()
    table = pd.DataFrame(columns=[g.replace(CLASS, '') for g in groups])
    keys, scale = ['row', 'detector', 'group'], 1 if link == 'samples' else 100
    values = {k: scale * v.to_numpy() for k, v in own.groupby(keys)['value']}
    for row in own['row'].unique():
        for name in (first, *others):
            means = [np.mean(values.get((row, name, g), ())) for g in groups]
            table.loc[f'{row}, {name}'] = [
                DASH if np.isnan(mean) else f'{mean:.1f}' for mean in means
            ]
        for name in others:
            pairs = [
                [values.get((row, n, group), [np.nan]) for n in (first, name)]
                for group in groups
            ]
            table.loc[f'{row}, {name} \N{MINUS SIGN} {first}'] = [
                DASH if np.isnan([*a, *b]).any() else show_difference(a, b)
                for a, b in pairs
            ]
    return table


def format_page(frame: pd.DataFrame, data: dict, split: str) -> str:
    """All links, with the data of :func:`measure_links`, as Markdown."""
    seeds = frame.groupby('detector', sort=False)['seed'].nunique()
    parts = [
        '# From proposals to detections',
        _MEANING.format(split=split, **data),
        *(f'- {name}: {number} seeds' for name, number in seeds.items()),
    ]
    for link, (title, meaning) in LINKS.items():
        table = markdown(link_table(frame, link))
        parts += [f'## {title}', meaning, table]
    return '\n\n'.join(parts) + '\n'
