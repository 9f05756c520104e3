"""What finished runs say of each pair."""

import gzip
import json
from concurrent.futures import Executor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .columns import AREAS, RECALL_NUMBERS
from .detection import evaluate, resampled_precisions
from .plan import Pair, Plan
from .quantities import PRECISIONS, QUANTITIES, RECALLS
from .recall import Recalls
from .runs import DETECTIONS, GROUND_TRUTH, METRICS, RECALLS as RECALLS_FILE
from .runs import Run, runs_of
from .statistics import Difference, compare, count_samples, draw_samples


class Measured(NamedTuple):
    """A run and its metrics."""

    run: Run
    metrics: dict


class PairSummary(NamedTuple):
    """A pair's runs of the seeds that both detectors have.

    Attributes:
        pair (Pair): Names and configs.
        seeds (tuple[int]): The seeds.
        baseline (tuple[dict]): Metrics of the baseline by seed.
        kl_rpn (tuple[dict]): Metrics of KL-RPN by seed.
        differences (dict[str, Difference]): By the names of ``QUANTITIES``;
            a quantity that a run lacks is not in it.
        notes (tuple[str]): What a reader must know.
    """

    pair: Pair
    seeds: Tuple[int, ...]
    baseline: Tuple[dict, ...]
    kl_rpn: Tuple[dict, ...]
    differences: Dict[str, Difference]
    notes: Tuple[str, ...]

    @property
    def models(self) -> Tuple[Tuple[str, Tuple[dict, ...]], ...]:
        """Both models' names and metrics."""
        return ('RPN', self.baseline), ('KL-RPN', self.kl_rpn)
