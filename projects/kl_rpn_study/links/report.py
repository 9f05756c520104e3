"""Links of several detectors side by side, as a page of Markdown."""

from typing import List

import numpy as np
import pandas as pd
from object_groups import CLASS
from seed_tables import DASH, markdown, show_difference

_MEANING = """Figures are means over seeds, in points. A difference to the
first detector has the half width of Welch's 95% interval over seeds, in bold
if that excludes 0. One in twenty would do so by chance.

The size of an object is the square root of its box's area in pixels of the
image. Q1 to Q4 are quarters of the {split} objects by size, whose edges are
{edges} pixels, for training objects too. Measured on {images} images with
{objects} objects; samples are of {train_images} training images with
{train_objects} objects."""
# Title, meaning and, by link, the factor of its printed figures.
LINKS = {
    'recall': (
        'Recall of the proposals',
        'AR@n: the share of objects that the n best proposals of their image '
        'recall, whatever the class, a mean over IoU 0.5 to 0.95. The mean '
        'over classes weighs objects as AP does.',
        100,
    ),
    'ranking': (
        'Ranking of the proposals',
        'Average precision of the 100 best proposals of an image as '
        'detections of one class: how far objects rank before background.',
        100,
    ),
    'precision': (
        'Average precision, with one part made perfect',
        'AP of the detector and with oracles. *Oracle classification*: '
        'each refined box with an IoU of 0.5 or more with an object is '
        'detected as its class, the IoU being the score; no other is. *Oracle '
        'boxes*: where a proposal has such an IoU, the object replaces its '
        "refined box. *Oracle proposals*: the objects' boxes are the "
        'proposals.',
        100,
    ),
    'objectness': (
        "Average precision with the proposals' scores",
        "AP of the same weights if a detection's score is the second stage's "
        "times a power of its proposal's, as by `ObjectnessRoIHead`, for all "
        'proposals or the best 100 or 10. A power of 0 changes nothing.',
        100,
    ),
    'samples': (
        'What trains the RoI head',
        'Mean numbers in a training image, not augmented, of proposals that '
        "the RoI head's assigner finds positive, and of what its sampler "
        "draws, objects' own boxes included.",
        1,
    ),
    'samples by object': (
        'Positive proposals of each object',
        'Mean IoU of the sampled positive proposals with their object; and '
        'the share of objects that none of them is of.',
        100,
    ),
}


def link_table(frame: pd.DataFrame, link: str) -> pd.DataFrame:
    """A row for each figure and detector, and for each difference.

    Args:
        frame (pd.DataFrame): ``detector``, ``seed``, ``link``, ``row``,
            ``group`` and ``value``; the first detector is the reference.
        link (str): One of ``LINKS``.
    """
    own = frame[frame['link'] == link].assign(
        value=frame['value'] * LINKS[link][2]
    )
    groups, detectors = own['group'].unique(), own['detector'].unique()
    table = pd.DataFrame(columns=[g.replace(CLASS, '') for g in groups])
    keys = ['row', 'detector', 'group']
    found = {key: v.to_numpy() for key, v in own.groupby(keys)['value']}

    def values(row: str, detector: str, group: str) -> np.ndarray:
        return found.get((row, detector, group), np.full(1, np.nan))

    for row in own['row'].unique():
        for name in detectors:
            means = [values(row, name, group).mean() for group in groups]
            table.loc[f'{row}, {name}'] = [_show(mean) for mean in means]
        first = detectors[0]
        for name in detectors[1:]:
            texts = []
            for group in groups:
                pair = values(row, first, group), values(row, name, group)
                known = not np.isnan(np.concatenate(pair)).any()
                texts.append(show_difference(*pair) if known else DASH)
            table.loc[f'{row}, {name} \N{MINUS SIGN} {first}'] = texts
    return table


def _show(value: float) -> str:
    return DASH if np.isnan(value) else f'{value:.1f}'


def format_page(frame: pd.DataFrame, data: dict, split: str) -> str:
    """All links of all detectors, and what they mean.

    Args:
        frame (pd.DataFrame): As :func:`link_table` takes it.
        data (dict): What is measured on, from :func:`measure_links`.
        split (str): Its name.
    """
    edges = ', '.join(f'{edge:.1f}' for edge in data['size_edges'])
    meaning = _MEANING.format(**{**data, 'edges': edges, 'split': split})
    parts: List[str] = ['# From proposals to detections', meaning]
    for name, own in frame.groupby('detector', sort=False):
        seeds = ', '.join(map(str, sorted(own['seed'].unique())))
        parts.append(f'- {name}: seeds {seeds}')
    for link, (title, text, _) in LINKS.items():
        parts += [f'## {title}', text, markdown(link_table(frame, link))]
    return '\n\n'.join(parts) + '\n'
