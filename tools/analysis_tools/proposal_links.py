#!/usr/bin/env python
"""Measure every link from proposals to detections, of one detector or more.

A first stage may recall as much as another and its detector still have the
lower AP. For each trained two-stage detector: recall of the proposals by class
and size, ranks of objects, duplicates, AP with perfect classes, boxes or
proposals, and what the first stage gives the RoI head to learn from. Runs
<name>/seed<k> of one name are the seeds of a detector; another is compared
with the first, paired by seed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from mmdet_klrpn.benchmark.comparison import check_namesakes

from mmdet_klrpn.benchmark.links import format_page, measure_links
from mmdet_klrpn.benchmark.runs import Run


class Given(NamedTuple):
    """A detector of the command line.

    Attributes:
        model (str): What it is called: runs called the same are its seeds.
        config (str): File of its config.
        checkpoint (str): File of its weights.
        seed (int, optional): Of its training, where its folder says it.
    """

    model: str
    config: str
    checkpoint: str
    seed: Optional[int]


def parse(words: Sequence[str]) -> List[Given]:
    """Detectors that are named by folders, or configs and checkpoints.

    Args:
        words (Sequence[str]): Each the folder of a run, or a config that has
            its checkpoint behind it.

    Raises:
        ValueError: If a folder has no finished training, or a config no
            checkpoint.
    """
    found, rest = [], list(words)
    while rest:
        word = Path(rest.pop(0))
        if word.is_dir():
            run = Run(word.resolve())
            if run.checkpoint is None:
                raise ValueError(
                    f'{word} has no finished training of {run.config}.py: '
                    'name its config and its checkpoint'
                )
            files = str(run.dumped_config), str(run.checkpoint)
            found.append(Given(run.config, *files, run.seed))
        elif rest and not Path(rest[0]).is_dir():
            found.append(_of_files(word, Path(rest.pop(0))))
        else:
            raise ValueError(
                f'{word} is no folder of a run, nor has it a checkpoint '
                'behind it'
            )
    return found


def _of_files(config: Path, checkpoint: Path) -> Given:
    """Named by the folder <name>/seed<k> of the checkpoint, or its config."""
    run = Run(checkpoint.resolve().parent)
    files = str(config), str(checkpoint)
    try:
        return Given(run.config, *files, run.seed)
    except ValueError:  # its folder is not called so
        return Given(config.stem, *files, None)


def number(found: Sequence[Given]) -> List[Given]:
    """Number those runs of a detector of which no folder says the seed.

    Raises:
        ValueError: If a seed of a detector is there twice.
    """
    taken = set()
    for model, _, checkpoint, seed in found:
        if (model, seed) in taken:
            raise ValueError(
                f'{model} has seed {seed} twice, once with {checkpoint}'
            )
        if seed is not None:
            taken.add((model, seed))
    numbered = []
    for given in found:
        if given.seed is None:
            seeds = range(len(found))
            free = next(s for s in seeds if (given.model, s) not in taken)
            given = given._replace(seed=free)
            taken.add((given.model, free))
        numbered.append(given)
    return numbered


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'detectors',
        nargs='+',
        metavar='RUN',
        help='folder of a run of tools/benchmark.py, or CONFIG CHECKPOINT',
    )
    parser.add_argument(
        '-o',
        '--out-dir',
        type=Path,
        required=True,
        help='for links.md and links.json',
    )
    parser.add_argument(
        '--train-images',
        type=int,
        default=2000,
        help='to see what is learnt from, at most',
    )
    args = parser.parse_args()
    try:
        runs = []
        found = number(parse(args.detectors))
        check_namesakes([(given.model, given.config) for given in found])
        for model, config, checkpoint, seed in found:
            print(checkpoint, file=sys.stderr)
            run = measure_links(config, checkpoint, args.train_images)
            runs.append(dict(model=model, seed=seed, **run))
        args.out_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(runs, indent=1)
        (args.out_dir / 'links.json').write_text(f'{text}\n')
        page = format_page(runs)
        (args.out_dir / 'links.md').write_text(page)
    except (OSError, ValueError) as error:
        sys.exit(f'proposal_links: {error}')
    print(page)


if __name__ == '__main__':
    main()
