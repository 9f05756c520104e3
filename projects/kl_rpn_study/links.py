#!/usr/bin/env python
"""Measure every link from proposals to detections of trained detectors.

    python projects/kl_rpn_study/links.py RUN RUN -o OUT
    python projects/kl_rpn_study/links.py CONFIG CHECKPOINT RUN -o OUT

A first stage may recall as much as another and its detector still have the
lower AP. The links: recall of the proposals, their ranking, AP with perfect
classes, boxes or proposals, AP with the proposals' scores, and the samples
that train the RoI head. A RUN is a folder NAME/seed<k> of tools/benchmark.py.
Runs of one NAME, or several checkpoints of one CONFIG, are seeds of a
detector; other detectors are compared with the first.
"""

import argparse
import sys
from pathlib import Path
from typing import List, NamedTuple, Sequence

import pandas as pd

# The package of this file's name: Python prefers folders to files.
from links.measure import measure_links
from links.report import format_page

from mmdet_klrpn.benchmark.plan import SPLITS
from mmdet_klrpn.benchmark.runs import find_run


class Given(NamedTuple):
    """A trained detector, and the folder or the config that it is of."""

    name: str
    source: Path
    seed: int
    config: Path
    checkpoint: Path


def parse(words: Sequence[str]) -> List[Given]:
    """Detectors by folders of runs, or by configs and checkpoints.

    Raises:
        ValueError: If a folder has no finished training, a config has no
            checkpoint, a run is given twice, or two detectors share a name.
    """
    found: List[Given] = []
    rest = [Path(word).resolve() for word in words]
    while rest:
        path = rest.pop(0)
        if path.is_dir():
            run, name, checkpoint, _ = find_run(path)
            files = run.config, Path(checkpoint)
            found.append(Given(name, path.parent, run.seed, *files))
        elif rest and not rest[0].is_dir():
            seed = sum(given.source == path for given in found)
            found.append(Given(path.stem, path, seed, path, rest.pop(0)))
        else:
            raise ValueError(f'{path} needs a checkpoint after it')
    sources = {given.name: given.source for given in found}
    for given in found:
        if given.source != sources[given.name]:
            raise ValueError(
                f'{given.source} and {sources[given.name]} share a name: '
                'rename one'
            )
    if len({given[:3] for given in found}) < len(found):
        raise ValueError('a run is given twice: name each once')
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', nargs='+', metavar='RUN')
    parser.add_argument('-o', '--out', type=Path, required=True)
    parser.add_argument('--split', choices=SPLITS, default='test')
    parser.add_argument('--train-images', type=int, default=2000)
    args = parser.parse_args()
    try:
        frames, data = [], None
        for name, source, seed, *paths in parse(args.runs):
            files = map(str, paths)
            frame, own = measure_links(*files, args.split, args.train_images)
            if data not in (None, own):
                raise ValueError(f'{source} has other data: {own}, not {data}')
            data = own
            frames.append(frame.assign(detector=name, seed=seed))
        frame = pd.concat(frames, ignore_index=True)
        args.out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(args.out / 'links.csv', index=False, lineterminator='\n')
        page = format_page(frame, data, args.split)
        (args.out / 'links.md').write_text(page)
    except (OSError, ValueError) as error:
        sys.exit(f'links: {error}')


if __name__ == '__main__':
    main()
