#!/usr/bin/env python
"""Draw RPN beside KL-RPN on images of trees, and write docs/gallery.md.

Takes the test images with the most trees, and the checkpoints of the
benchmark: ``<work-dir>/<detector>/seed0``.
"""

import argparse
from pathlib import Path
from typing import List

import torch
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset, pseudo_collate
from torch import nn
from torchvision.ops import box_iou

from mmdet_klrpn.apis import load_detector, propose
from mmdet_klrpn.benchmark.runs import Run
from mmdet_klrpn.visualization import draw_overview, seen_image

ROOT = Path(__file__).resolve().parents[2]
# Pairs of detectors of the plan trees.yaml: title, config of the one with RPN,
# folders in the work folder, number of images.
PAIRS = (
    (
        'A feature pyramid',
        'faster-rcnn_mobilenetv2_fpn_24e_trees',
        ('fpn-rpn', 'fpn-kl-rpn'),
        3,
    ),
    (
        'A single map',
        'faster-rcnn_mobilenetv2_24e_trees',
        ('faster-r-cnn-rpn', 'faster-r-cnn-kl-rpn'),
        1,
    ),
)
# The page is kept up to this line.
MARK = '<!-- drawn -->\n'


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        type=Path,
        default='work_dirs/trees',
        help='folder of the runs (default: %(default)s)',
    )
    parser.add_argument(
        '--docs',
        type=Path,
        default='docs',
        help='folder of the page (default: %(default)s)',
    )
    args = parser.parse_args()
    page = args.docs / 'gallery.md'
    sections = [page.read_text().partition(MARK)[0] + MARK]
    for title, baseline, folders, count in PAIRS:
        sections.append(f'## {title}\n\n`{baseline}`, with RPN and KL-RPN.\n')
        models = [load(args.work_dir / folder / 'seed0') for folder in folders]
        dataset = DATASETS.build(models[0].cfg.test_dataloader.dataset)
        for i in crowded(dataset)[:count]:
            picture = args.docs / 'images' / 'gallery' / f'{baseline}_{i}.jpg'
            picture.parent.mkdir(parents=True, exist_ok=True)
            caption = draw(dataset[i], models, picture)
            path = picture.relative_to(args.docs).as_posix()
            sections.append(f'![{caption}]({path})\n\n{caption}\n')
            print(f'{picture}: {caption}')
    page.write_text('\n'.join(sections))


def load(run: Path) -> nn.Module:
    """A detector that the benchmark has trained."""
    found = Run(run)
    return load_detector(str(found.config), str(found.checkpoint))


def crowded(dataset: BaseDataset) -> List[int]:
    """Indices of a data set's images, by falling number of objects."""
    return sorted(
        range(len(dataset)),
        key=lambda i: -len(dataset.get_data_info(i)['instances']),
    )


def draw(data: dict, models: List[nn.Module], picture: Path) -> str:
    """Draw an item of a test data set with the proposals of both detectors.

    Returns:
        str: A caption with the number of trees that each finds.
    """
    image = seen_image(data['inputs'], data['data_samples'])
    truth = data['data_samples'].gt_instances.bboxes.tensor
    batch = pseudo_collate([data])
    stages = [propose(model, batch)[0] for model in models]
    top = len(truth)
    named = list(zip(('RPN', 'KL-RPN'), stages))
    figure = draw_overview(image, named, top, truth.numpy())
    figure.savefig(picture, dpi=80, pil_kwargs=dict(quality=80))
    rpn, kl_rpn = (found(s.proposals.bboxes[:top], truth) for s in stages)
    return (
        f'The {top} best proposals of RPN find {rpn} of {top} trees, those of '
        f'KL-RPN {kl_rpn}.'
    )


def found(boxes: torch.Tensor, truth: torch.Tensor) -> int:
    """Count the boxes of the ground truth (n, 4) that a box (m, 4) finds."""
    return int((box_iou(truth, boxes) >= 0.5).any(dim=1).sum())


if __name__ == '__main__':
    main()
