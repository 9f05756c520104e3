"""Measure every link of a detector from proposals to detections."""

import contextlib
import io
from collections import defaultdict
from typing import Dict, List, Tuple

import numpy as np
import pandas as pd
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmengine.config import Config
from mmengine.device import get_device
from object_groups import CLASS, QUARTERS, recall_rates, size_edges
from rich.progress import track
from seed_tables import with_split
from torch import nn

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.benchmark.detection import evaluate, pack_detections
from mmdet_klrpn.benchmark.ground_truth import read_ground_truth
from mmdet_klrpn.benchmark.recall import rank_objects
from mmdet_klrpn.evaluation.split_items import split_items

from .image import load_image, objects_of, refine
from .oracles import detect_by_objectness, detect_each_way
from .sampling import sampling_links


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
    if not items or not train or train_images < 1:
        raise ValueError(
            f'{config} needs images to measure on and to train with, and '
            f'--train-images >= 1, but got {len(items)}, {len(train)} and '
            f'{train_images}'
        )
    truth = read_ground_truth(cfg, items[0][0].metainfo['classes'])
    classes = [category['name'] for category in truth['categories']]
    proposals, detections = _predict(model, items, truth)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        most = max([len(p['scores']) for p in proposals] + [1])
        objects = rank_objects(truth, proposals, most)
    edges = size_edges(objects.sizes)
    recall = recall_rates(objects, edges).rename(columns=dict(metric='row'))
    frames = [recall.assign(link='recall')]
    for (link, row), found in detections.items():
        own = class_agnostic(truth) if link == 'ranking' else truth
        frame = precisions(own, found, edges)
        frames.append(frame.assign(link=link, row=row))
    number = min(train_images, len(train))
    chosen = np.linspace(0, len(train) - 1, number).round().astype(int)
    taught, train_objects = sampling_links(
        model, [train[i] for i in chosen], classes, edges
    )
    data = dict(
        classes=classes,
        size_edges=edges.tolist(),
        images=len(items),
        objects=len(objects.sizes),
        train_images=number,
        train_objects=train_objects,
    )
    frame = pd.concat([*frames, taught], ignore_index=True)
    return frame[['link', 'row', 'group', 'value']], data


def check_detector(model: nn.Module) -> None:
    """Raise a ValueError unless it has two stages with a StandardRoIHead."""
    head = getattr(model, 'roi_head', None)
    sampler = getattr(head, 'bbox_sampler', None)
    if not isinstance(head, StandardRoIHead) or sampler is None:
        raise ValueError(
            'model.roi_head must be a StandardRoIHead, with a '
            f'model.train_cfg.rcnn, but got a {type(head).__name__} of a '
            f'{type(model).__name__}'
        )


@torch.no_grad()
def _predict(
    model: nn.Module, items: list, truth: dict
) -> Tuple[List[dict], Dict[Tuple[str, str], List[dict]]]:
    """Proposals, and detections by link and row, as COCO results."""
    head, predictions, detections = model.roi_head, [], defaultdict(list)
    power = getattr(head, 'objectness_power', 0)
    categories = [category['id'] for category in truth['categories']]
    for item in track(items, 'images'):
        image = load_image(model, item)
        (found,) = model.rpn_head.predict(
            image.features, image.samples, rescale=False
        )
        own = refine(model, image, found.bboxes, found.scores)
        plain = own
        if power:
            head.objectness_power = 0.0
            plain = refine(model, image, found.bboxes, found.scores)
            head.objectness_power = power
        bboxes, labels, _ = objects_of(item)
        bboxes = found.bboxes.new_tensor(bboxes)
        labels = torch.from_numpy(labels).to(bboxes.device)
        given = refine(model, image, bboxes * image.scale)
        ways = detect_each_way(own, given, bboxes, labels, head.test_cfg)
        weighed = detect_by_objectness(plain, found.scores, head.test_cfg)
        proposals = dict(
            bboxes=own.proposals.cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            labels=np.zeros(len(found), dtype=int),
        )
        ranked = {'class-agnostic': proposals}
        image_id = image.samples[0].img_id
        predictions.append(dict(img_id=image_id, **proposals))
        for link, rows in (
            ('ranking', ranked),
            ('precision', ways),
            ('objectness', weighed),
        ):
            for row, instances in rows.items():
                packed = pack_detections(image_id, instances, categories)
                detections[link, row] += packed
    return predictions, detections


def class_agnostic(truth: dict) -> dict:
    """COCO annotations whose objects are all of the first category."""
    categories = truth['categories'][:1]
    annotations = [
        dict(a, category_id=categories[0]['id']) for a in truth['annotations']
    ]
    return dict(truth, categories=categories, annotations=annotations)


def precisions(
    truth: dict, detections: List[dict], edges: np.ndarray
) -> pd.DataFrame:
    """Average precisions: AP, AP50, AP75, and AP by class and size.

    Args:
        truth (dict): COCO annotations.
        detections (list[dict]): COCO results of boxes.
        edges (np.ndarray): (3, ) edges of the objects' sizes.

    Returns:
        pd.DataFrame: ``group`` and ``value``, NaN without an object.
    """
    # COCO's ranges hold both ends, and an object may lie at an edge.
    limits = [0.0, *((1 + 1e-9) * np.square(edges)), 1e10]
    areas = dict(zip(QUARTERS, zip(limits, limits[1:])))
    annotations = [
        dict(a, area=a['bbox'][2] * a['bbox'][3])  # not the mask's
        for a in truth['annotations']
    ]
    evaluated = evaluate(
        dict(truth, annotations=annotations), detections, areas
    )
    params = evaluated.params
    # (IoU thresholds, recalls, categories, areas, numbers of detections)
    precision = evaluated.eval['precision']
    found = {'AP': precision[..., 0, 0]}
    for i, name in ((0, 'AP50'), (5, 'AP75')):
        found[name] = precision[i, :, :, 0, -1]
    if len(truth['categories']) > 1:
        for category in truth['categories']:
            i = params.catIds.index(category['id'])
            found[CLASS + category['name']] = precision[:, :, i, 0, 0]
    for name in QUARTERS:
        i = params.areaRngLbl.index(name)
        found[name] = precision[..., i, 0]
    # pycocotools marks by -1 where there is no object.
    values = [np.append(p[p > -1], []) for p in found.values()]
    return pd.DataFrame(
        dict(
            group=list(found),
            value=[v.mean() if len(v) else np.nan for v in values],
        )
    )
