"""A report in every form: page, Markdown, CSV, LaTeX, SVG and PDF."""

from pathlib import Path
from typing import List, NamedTuple, Sequence, Tuple

import jinja2
import pandas as pd

from . import tables
from .examples import TEXT, Example, find_examples
from .plots import Plot, draw_curves, draw_forest
from .results import Results
from .tables import AP_COLUMNS, AR_COLUMNS, BOLD, Table

INTERVALS = (
    "Over seeds: Welch's 95% interval of the difference of two means, which "
    'says what other seeds would do on the same images.',
    'Over images: the 95% interval of a paired bootstrap, in which the same '
    'images are drawn again for both detectors and all seeds. It says what '
    'other images of the same kind would do to these very models.',
    "p is the larger of Welch's and the bootstrap's. For the primary metric "
    "alone it is adjusted by Holm's method, over all comparisons; only what "
    'is then below 5% is in bold. The other metrics are not adjusted: among '
    'so many differences one in twenty excludes 0 by chance.',
    'A value after ± is the standard deviation over seeds.',
)
COSTS = (
    "FLOPs are mmengine's: a multiplication and its addition count as one, "
    'NMS and RoI pooling as none. Training time is the median of the logs. '
    'Memory is what CUDA allocated or, on a CPU, the size of the process.'
)


class Section(NamedTuple):
    """A part of a report: sentences, then tables, then plots and pictures."""

    title: str
    texts: Sequence[str]
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    examples: Sequence[Example] = ()
    folded: Sequence[Tuple[str, str]] = ()
