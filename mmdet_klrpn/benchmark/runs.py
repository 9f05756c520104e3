"""Where a run is, whether it is finished, and what it left behind."""

import re
from pathlib import Path
from typing import List, NamedTuple, Optional

from mmengine.config import Config

METRICS = 'metrics.json'
DETECTIONS = 'detections.json.gz'
GROUND_TRUTH = 'ground_truth.json.gz'
RECALLS = 'recalls.npz'
PLAN = 'plan.yaml'
_SEED = re.compile(r'seed(\d+)')


class Run(NamedTuple):
    """A training of one config with one seed.

    Attributes:
        folder (Path): ``<work dir>/<config's stem>/seed<k>``.
    """

    folder: Path

    @property
    def config(self) -> str:
        """Stem of the config's file name."""
        return self.folder.parent.name

    @property
    def seed(self) -> int:
        """Its seed; a ValueError where the folder is not called so."""
        found = _SEED.fullmatch(self.folder.name)
        if not found:
            raise ValueError(
                f'{self.folder} must be called <config>/seed<number>'
            )
        return int(found[1])

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'{self.config} seed {self.seed}'

    @property
    def dumped_config(self) -> Optional[Path]:
        """The resolved config that the training left, if there is one."""
        path = self.folder / f'{self.config}.py'
        return path if path.is_file() else None

    @property
    def checkpoint(self) -> Optional[Path]:
        """The checkpoint of a finished training, else None."""
        if self.dumped_config is None:
            return None
        loop = Config.fromfile(self.dumped_config).train_cfg
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


def run_of(work_dir: Path, config: Path, seed: int) -> Run:
    """The run of a config and a seed."""
    return Run(work_dir / config.stem / f'seed{seed}')


def runs_of(work_dir: Path, config: Path) -> List[Run]:
    """Every run of a config that there is, in order of seed."""
    runs = [
        Run(folder)
        for folder in (work_dir / config.stem).glob('seed*')
        if _SEED.fullmatch(folder.name)
    ]
    return sorted(runs, key=lambda run: run.seed)
