"""Average precision with the proposals' scores in those of the detections.

A detection of class c has the score p(c) s^power: p(c) is the bbox head's, s
the score of the proposal that it was made of. It is what
``ObjectnessRoIHead`` makes of the same weights.
"""

from typing import Dict, Optional

import numpy as np
from mmengine.config import ConfigDict
from torch import Tensor

from .oracles import Refined, detect

# By number of proposals, None being the detector's own.
POWERS = {None: (0.0, 0.5, 1.0, 2.0), 100: (0.0, 1.0), 10: (0.0, 1.0)}


def detect_by_objectness(
    refined: Refined, objectness: Tensor, test_cfg: ConfigDict
) -> Dict[str, Dict[str, np.ndarray]]:
    """Detections of an image at each number of proposals and power.

    Args:
        refined (Refined): Of n proposals, the best first.
        objectness (Tensor): (n, ) their scores.
        test_cfg (ConfigDict): ``test_cfg.rcnn`` of the detector.
    """
    found = {}
    for number, powers in POWERS.items():
        best = Refined(*(part[:number] for part in refined))
        for power in powers:
            weight = objectness[:number, None] ** power
            # The background's is not looked at.
            weighed = best._replace(scores=best.scores * weight)
            found[name_of(number, power)] = detect(
                weighed, test_cfg, test_cfg.score_thr
            )
    return found


def name_of(number: Optional[int], power: float) -> str:
    """What the row is called."""
    return f'{number or "all"} proposals, power {power:g}'
