"""Measure every link of a detector from proposals to detections."""

import contextlib
import io
from collections import defaultdict
from typing import Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmengine.config import Config
from mmengine.device import get_device
from object_groups import CLASS, QUARTERS, recall_rates
from rich.progress import track
from seed_tables import with_split
from torch import nn

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.benchmark.detection import evaluate
from mmdet_klrpn.benchmark.ground_truth import read_ground_truth
from mmdet_klrpn.evaluation.functional.coco_matching import pack
from mmdet_klrpn.evaluation.split_items import Item, split_items

from .image import load_image, refine
from .oracles import Detections, detect_by_objectness, detect_each_way
from .sampling import sampling_links

RANKING = 'ranking', 'class-agnostic'


def measure_links(
    config: str, checkpoint: str, split: str, train_images: int
) -> Tuple[pd.DataFrame, dict]:
    """Measure all links of a trained detector.

    Args:
        config (str): File of the config.
        checkpoint (str): File of the trained weights.
        split (str): Images to measure on, 'test' or 'val'.
        train_images (int): Number of training images to sample at most.

    Returns:
        tuple[pd.DataFrame, dict]: ``link``, ``row``, ``group`` and ``value``;
        and the data that they are measured on.

    Raises:
        ValueError: If the detector has not two stages with one RoI head, or
            there is no image or no object.
    """
    cfg = with_split(Config.fromfile(config), split)
    model = load_detector(config, checkpoint, get_device())
    check_detector(model)
    items, train = split_items(cfg, 'test'), split_items(cfg, 'train')
    number = min(train_images, len(train))
    if not items or number < 1:
        raise ValueError(
            f'there must be {split} and training images, but got {len(items)} '
            f'and {number}'
        )
    truth = read_ground_truth(cfg, items[0][0].metainfo['classes'])
    classes = [category['name'] for category in truth['categories']]
    found = predict(model, items)
    proposals = found[RANKING]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        recall, edges, objects = recall_rates(truth, proposals)
    recall = recall.rename(columns=dict(metric='row'))
    frames = [recall.assign(link='recall')]
    for (link, row), detections in found.items():
        own = class_agnostic(truth) if link == 'ranking' else truth
        frame = precisions(own, detections, edges)
        frames.append(frame.assign(link=link, row=row))
    chosen = np.linspace(0, len(train) - 1, number).round().astype(int)
    taught, train_objects = sampling_links(
        model, [train[i] for i in chosen], classes, edges
    )
    data = dict(
        classes=classes,
        edges=edges.round(1).tolist(),
        images=len(items),
        objects=objects,
        train_images=number,
        train_objects=train_objects,
    )
    frame = pd.concat([*frames, taught], ignore_index=True)
    return frame[['link', 'row', 'group', 'value']], data


def check_detector(model: nn.Module) -> None:
    """Raise a ValueError unless it has two stages with a StandardRoIHead."""
    head = getattr(model, 'roi_head', None)
    trained = getattr(head, 'bbox_sampler', None) is not None
    if not isinstance(head, StandardRoIHead) or not trained:
        raise ValueError(
            'model.roi_head must be a StandardRoIHead with a '
            f'model.train_cfg.rcnn, but got a {type(head).__name__}'
        )


@torch.no_grad()
def predict(
    model: nn.Module, items: Sequence[Item]
) -> Dict[Tuple[str, str], List[Detections]]:
    """Proposals and detections of each image, by link and row."""
    head, predictions = model.roi_head, defaultdict(list)
    power = getattr(head, 'objectness_power', 0)
    for item in track(items, 'images'):
        image = load_image(model, item)
        (found,) = model.rpn_head.predict(
            image.features, image.samples, rescale=False
        )
        plain = own = refine(model, image, found.bboxes, found.scores)
        if power:
            head.objectness_power = 0.0
            plain = refine(model, image, found.bboxes, found.scores)
            head.objectness_power = power
        bboxes = found.bboxes.new_tensor(image.bboxes)
        labels = torch.from_numpy(image.labels).to(bboxes.device)
        given = refine(model, image, bboxes * image.scale)
        ways = detect_each_way(own, given, bboxes, labels, head.test_cfg)
        weighed = detect_by_objectness(plain, found.scores, head.test_cfg)
        rows = {('precision', row): value for row, value in ways.items()}
        rows.update((('objectness', row), v) for row, v in weighed.items())
        rows[RANKING] = dict(
            bboxes=own.proposals.cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            labels=np.zeros(len(found), dtype=int),
        )
        for row, value in rows.items():
            named = dict(value, img_id=image.samples[0].img_id)
            predictions[row].append(named)
    return predictions


def class_agnostic(truth: dict) -> dict:
    """COCO annotations whose objects are all of the first category."""
    categories = truth['categories'][:1]
    annotations = [
        dict(a, category_id=categories[0]['id']) for a in truth['annotations']
    ]
    return dict(truth, categories=categories, annotations=annotations)


def precisions(
    truth: dict, predictions: List[Detections], edges: np.ndarray
) -> pd.DataFrame:
    """AP, AP50, AP75, and AP by class and size.

    Args:
        truth (dict): COCO annotations.
        predictions (list[dict]): Of each image ``img_id``, ``bboxes``,
            ``scores`` and ``labels``.
        edges (np.ndarray): (3, ) edges of the objects' sizes.

    Returns:
        pd.DataFrame: ``group`` and ``value``, NaN without an object.
    """
    categories = [category['id'] for category in truth['categories']]
    # COCO's ranges hold both ends, and an object may lie at an edge.
    limits = [0.0, *((1 + 1e-9) * np.square(edges)), 1e10]
    areas = dict(zip(QUARTERS, zip(limits, limits[1:])))
    annotations = [
        dict(a, area=a['bbox'][2] * a['bbox'][3])  # not the mask's
        for a in truth['annotations']
    ]
    truth = dict(truth, annotations=annotations)
    detections = pack(predictions, categories, True)
    evaluated = evaluate(truth, detections, areas)
    # (IoU thresholds, recalls, categories, areas, numbers of detections)
    precision = evaluated.eval['precision']
    found = {'AP': precision[..., 0, 0]}
    for i, name in ((0, 'AP50'), (5, 'AP75')):
        found[name] = precision[i, :, :, 0, -1]
    if len(categories) > 1:
        for category in truth['categories']:
            i = evaluated.params.catIds.index(category['id'])
            found[CLASS + category['name']] = precision[:, :, i, 0, 0]
    for name in QUARTERS:
        i = evaluated.params.areaRngLbl.index(name)
        found[name] = precision[..., i, 0]
    # pycocotools marks by -1 where there is no object.
    rows = {k: pd.Series(p[p > -1]).mean() for k, p in found.items()}
    return pd.DataFrame(rows.items(), columns=['group', 'value'])
