#!/usr/bin/env python
"""Train RPN and KL-RPN on real images, print tables and draw pictures.

Two Faster R-CNNs that differ only in their RPN head learn to find tree crowns
in an aerial photograph and are tested on another: one scene, one class, one
seed. It shows that everything works, not which method is better. Run it again
after an interruption, and it continues.
"""

import os
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL

import pandas as pd
import yaml
from analysis_tools.gallery import crowded, draw, load
from mmdet.registry import DATASETS

from mmdet_klrpn.benchmark.plan import slug
from mmdet_klrpn.utils import ToolParser, one_line_errors

TOOLS = Path(__file__).resolve().parent
PLAN = TOOLS.parent / 'projects/kl_rpn_study/plans/demo.yaml'
PICTURES = 3


@one_line_errors('run the same again to continue')
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    add, default = parser.add_argument, Path('work_dirs/demo')
    add('--work-dir', type=Path, default=default, help='folder to write')
    add('--epochs', type=int, help='fewer, to try it out')
    args = parser.parse_args()
    plan = yaml.safe_load(PLAN.read_text())
    for detector in plan['detectors'].values() if args.epochs else ():
        detector['cfg_options'] = {
            'train_cfg.max_epochs': args.epochs,
            'param_scheduler.1.T_max': args.epochs,
        }
    args.work_dir.mkdir(parents=True, exist_ok=True)
    path, out = args.work_dir / 'plan.yaml', args.work_dir / 'report'
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    benchmark('run', path, '--work-dir', args.work_dir, '--jobs', 2)
    benchmark('report', args.work_dir, '--out', out, stdout=DEVNULL)
    for name in ('detectors', 'proposals'):
        table = pd.read_csv(out / 'tables' / f'{name}.csv', dtype=str)
        text = table.to_markdown(index=False, disable_numparse=True)
        print(f'\n{text}')
    print(f'\nPoints. {plan["note"]}\nreport: {out / "index.html"}')
    runs = [args.work_dir / slug(name) / 'seed0' for name in plan['detectors']]
    models = [load(run) for run in runs]
    dataset = DATASETS.build(models[0].cfg.test_dataloader.dataset)
    for i in crowded(dataset)[:PICTURES]:
        name = Path(dataset.get_data_info(i)['img_path']).stem
        draw(dataset[i], models, args.work_dir / f'{name}.jpg')
        print(f'picture: {args.work_dir / name}.jpg')


def benchmark(*words: object, **options) -> None:
    """Run a command of the benchmark, or end with its status."""
    # The plan's commands are run by this Python too.
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    command = [sys.executable, '-W', 'ignore', TOOLS / 'benchmark.py', *words]
    env = dict(os.environ, PATH=path)
    code = subprocess.call(list(map(str, command)), env=env, **options)
    if code:
        sys.exit(code)


if __name__ == '__main__':
    main()
