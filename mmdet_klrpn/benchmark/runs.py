"""The folder of a run, and the files that it holds."""

from pathlib import Path
from typing import NamedTuple, Optional

from mmengine.config import Config

from .plan import Detector, slug

METRICS = 'metrics.json'
MATCHES = 'matches.npz'
DETECTIONS = 'detections.npz'
GROUND_TRUTH = 'ground_truth.json.gz'
TIMINGS = 'timings.json'  # beside the runs, of all detectors
PLAN = 'plan.yaml'  # likewise
CONFIG = 'config.py'


class Run(NamedTuple):
    """A detector trained, or only measured, with one seed.

    Attributes:
        folder (Path): ``<work dir>/<slug of the detector's name>/seed<k>``.
    """

    folder: Path

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.folder.name[len('seed') :])

    @property
    def config(self) -> Path:
        """The resolved config, which is written before anything runs."""
        return self.folder / CONFIG

    @property
    def checkpoint(self) -> Optional[Path]:
        """The checkpoint of a finished training, else None."""
        if not self.config.is_file():
            return None
        loop = Config.fromfile(self.config).train_cfg
        unit = 'epoch' if loop.get('max_epochs') else 'iter'
        last = f'{unit}_{loop.get(f"max_{unit}s")}.pth'
        named = self.folder / 'last_checkpoint'
        # It is named only once it is written, by a path that may have moved.
        if not named.is_file() or Path(named.read_text()).name != last:
            return None
        path = self.folder / last
        return path if path.is_file() else None

    @property
    def measured(self) -> bool:
        """Whether all of its measurements are there."""
        # METRICS is written last.
        return (self.folder / METRICS).is_file()


def run_of(work_dir: Path, detector: Detector, seed: int) -> Run:
    """The run of a detector and a seed."""
    return Run(work_dir / slug(detector.name) / f'seed{seed}')
