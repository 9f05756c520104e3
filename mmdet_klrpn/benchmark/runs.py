"""Where a run is, whether it is finished, and what it left behind."""

import contextlib
import fcntl
import re
import shutil
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence

from mmengine.config import Config

from .plan import Plan, load_plan

METRICS = 'metrics.json'
DETECTIONS = 'detections.json.gz'
GROUND_TRUTH = 'ground_truth.json.gz'
RECALLS_FILE = 'recalls.npz'
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


@contextlib.contextmanager
def hold(work_dir: Path) -> Iterator[None]:
    """Keep a folder of runs for this process alone.

    Two that train the same run would write each other's checkpoints.

    Raises:
        RuntimeError: If another process has it.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f'another benchmark is running in {work_dir}: wait for it, '
                'or choose another --work-dir and report both'
            ) from None
        yield


def store_plan(path: Path, work_dir: Path) -> None:
    """Keep a plan beside its runs, where reports look for it."""
    target = work_dir / PLAN
    if not target.exists() or not path.samefile(target):
        shutil.copyfile(str(path), str(target))


def stored_plan(work_dirs: Sequence[Path]) -> Plan:
    """The plan that is kept beside runs.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If folders hold plans of different pairs.
    """
    found = [folder / PLAN for folder in work_dirs if (folder / PLAN).exists()]
    if not found:
        raise FileNotFoundError(
            f'no {PLAN} in {", ".join(map(str, work_dirs))}: name one by '
            '--plan'
        )
    plans = [load_plan(path) for path in found]
    for path, plan in zip(found, plans):
        if plan.pairs != plans[0].pairs:
            raise ValueError(
                f'{path} and {found[0]} have other pairs: name the plan to '
                'report by --plan'
            )
    return plans[0]
