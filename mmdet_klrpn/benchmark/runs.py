"""The folder of a run, and the files that it holds."""

import contextlib
import fcntl
import re
import shutil
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config

from .plan import Detector, Plan, load_plan, slug

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
    def length(self) -> Tuple[str, int]:
        """'epoch' or 'iter', and how many of them its training has."""
        loop = Config.fromfile(self.config).train_cfg
        unit = 'epoch' if loop.get('max_epochs') else 'iter'
        return unit, loop[f'max_{unit}s']

    @property
    def saved(self) -> float:
        """Share of the training that its last checkpoint holds, 0 to 1."""
        named = self.folder / 'last_checkpoint'
        if not named.is_file():
            return 0.0
        unit, number = self.length
        # It is named only once it is written, by a path that may have moved.
        name = Path(named.read_text()).name
        found = re.fullmatch(rf'{unit}_(\d+)\.pth', name)
        there = found and (self.folder / name).is_file()
        return int(found[1]) / number if there else 0.0

    @property
    def checkpoint(self) -> Optional[Path]:
        """The checkpoint of a finished training, else None."""
        if not self.config.is_file() or self.saved < 1:
            return None
        return self.folder / '{}_{}.pth'.format(*self.length)

    @property
    def measured(self) -> bool:
        """Whether all of its measurements are there."""
        # METRICS is written last.
        return (self.folder / METRICS).is_file()


def run_of(work_dir: Path, detector: Detector, seed: int) -> Run:
    """The run of a detector and a seed."""
    return Run(work_dir / slug(detector.name) / f'seed{seed}')


def measured_runs(plan: Plan, work_dir: Path) -> Dict[str, Run]:
    """The first measured run of each detector that has one, by its name."""
    found: Dict[str, Run] = {}
    for detector in plan.detectors:
        for seed in plan.seeds_of(detector):
            run = run_of(work_dir, detector, seed)
            if run.measured:
                found.setdefault(detector.name, run)
    return found


class Measurable(NamedTuple):
    """What :func:`measure` needs to know of a run."""

    run: Run
    name: str
    checkpoint: str
    split: str


def find_run(folder: Path) -> Measurable:
    """A finished run, by its folder.

    Args:
        folder (Path): ``<work dir>/<detector>/seed<k>``, its plan stored in
            the work folder.

    Raises:
        ValueError: If the plan has no such detector, or it is not trained.
    """
    folder = folder.resolve()
    plan = stored_plan([folder.parent.parent])
    run = Run(folder)
    for detector in plan.detectors:
        if slug(detector.name) == folder.parent.name:
            checkpoint = detector.checkpoint or run.checkpoint
            if checkpoint is None:
                raise ValueError(f'{folder} has no finished training')
            return Measurable(run, detector.name, str(checkpoint), plan.split)
    raise ValueError(
        f'{folder.parent.parent / PLAN} has no detector whose runs are in '
        f'{folder.parent.name}'
    )


def write_config(run: Run, config: Config, seed: Optional[int]) -> None:
    """Write the resolved config of a run, unless it has one.

    Args:
        run (Run): The run, whose folder is made.
        config (Config): The detector's.
        seed (int, optional): Of a training; None for one that is measured.
    """
    if run.config.is_file():
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    config = Config(config.to_dict())
    if seed is not None:
        config.randomness = dict(config.get('randomness') or {}, seed=seed)
    part = run.folder / f'.{CONFIG}'
    config.dump(part)
    part.replace(run.config)


@contextlib.contextmanager
def lock_work_dir(work_dir: Path) -> Iterator[None]:
    """Keep a folder of runs for this process alone.

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
    """Keep a plan beside its runs, where measuring and reports find it."""
    target = work_dir / PLAN
    if not target.exists() or not path.samefile(target):
        shutil.copyfile(str(path), str(target))


def stored_plan(work_dirs: Sequence[Path]) -> Plan:
    """The plan that is kept beside runs.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If folders hold plans of different detectors.
    """
    found = [folder / PLAN for folder in work_dirs if (folder / PLAN).exists()]
    if not found:
        raise FileNotFoundError(
            f'no {PLAN} in {", ".join(map(str, work_dirs))}, so nothing is '
            'measured there yet: run a plan, or name one by --plan'
        )
    plans = [load_plan(path) for path in found]
    for path, plan in zip(found, plans):
        if (plan.detectors, plan.compare) != (
            plans[0].detectors,
            plans[0].compare,
        ):
            raise ValueError(
                f'{path} and {found[0]} have other detectors: name the plan '
                'to report by --plan'
            )
    return plans[0]
