"""What finished runs say: one frame of values, one of differences."""

from typing import Dict, List, NamedTuple, Tuple

import pandas as pd

from .plan import Plan


class Results(NamedTuple):
    """All that a report is made from.

    Attributes:
        plan (Plan): Names detectors and comparisons.
        frame (pd.DataFrame): Every value, with ``columns.COLUMNS``.
        comparisons (pd.DataFrame): A row for each comparison and metric:
            ``first``, ``second``, ``metric``, ``at``, ``difference``
            (second minus first), ``seeds_low``, ``seeds_high``,
            ``images_low``, ``images_high``, ``p``, ``p_holm``,
            ``significant``, ``seeds_first``, ``seeds_second``.
        runs (dict[str, list[dict]]): By detector's name, the metrics of each
            measured run, and its ``folder``.
        notes (tuple[str]): What a reader must know.
    """

    plan: Plan
    frame: pd.DataFrame
    comparisons: pd.DataFrame
    runs: Dict[str, List[dict]]
    notes: Tuple[str, ...]
