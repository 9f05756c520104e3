"""Measure every link of a detector from proposals to detections."""

import sys
from typing import Dict, List, Sequence, Tuple

import numpy as np
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from torch import nn

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.evaluation.split_items import Item, split_items

from ..detection import pack_detections
from ..ground_truth import read_ground_truth
from ..measure import own_number
from .groups import Objects, Row, make_groups, quarter_areas, size_edges
from .image import Image, refine, see
from .objectness import detect_by_objectness
from .objects import CocoObjects, objects_of
from .oracles import detect_each_way, precision_row
from .ranking import (
    RANK_IOUS,
    Claims,
    claim_rows,
    claims,
    duplicate_rows,
    first_ranks,
    matched_ranks,
    missed_rows,
    rank_rows,
    recall_rows,
)
from .sampling import (
    Taught,
    count,
    sample_rois,
    sampling_links,
    train_time_proposals,
)

Links = Dict[str, Dict[str, Row]]


def measure_links(config: str, checkpoint: str, train_images: int) -> dict:
    """Measure all links of a trained detector.

    Args:
        config (str): File of the config.
        checkpoint (str): File of the trained weights.
        train_images (int): How many training images to take at most, evenly
            spread.

    Returns:
        dict: ``links`` by name, row and column, each value a float or None,
        and what they were measured with and on.

    Raises:
        ValueError: If the detector has not two stages with one RoI head, the
            checkpoint does not fit, the test set has no COCO annotations or
            no object, or there is no training image.
    """
    if train_images < 1:
        raise ValueError(f'train_images must be >= 1, but got {train_images}')
    cfg = Config.fromfile(config)
    model = load_detector(config, str(checkpoint), get_device())
    _check(model)
    items = split_items(cfg, 'test')
    if not items:
        raise ValueError('test_dataloader.dataset has no image')
    classes = items[0][0].metainfo['classes']
    truth = CocoObjects(read_ground_truth(cfg, classes))
    classes = truth.classes
    test = _TestPass(model, truth)
    for item in track_iter_progress(items, file=sys.stderr):
        test.add(item)
    links = test.links(classes)
    taught, objects = _teach(model, split_items(cfg, 'train'), train_images)
    groups = make_groups(objects, classes, test.edges)
    links.update(sampling_links(taught, groups))
    return dict(
        checkpoint=str(checkpoint),
        num_proposals=own_number(model),
        classes=list(classes),
        size_edges=test.edges.tolist(),
        test_images=len(items),
        test_objects=len(truth.ids),
        train_images=len(taught),
        train_objects=len(objects.labels),
        links=links,
    )


def _check(model: nn.Module) -> None:
    """Raise a ValueError where a detector has other links than these."""
    name = type(model).__name__
    if not (hasattr(model, 'rpn_head') and hasattr(model, 'roi_head')):
        raise ValueError(
            f'a {name} has not two stages: take a detector with an rpn_head '
            'and a roi_head'
        )
    head = model.roi_head
    if not isinstance(head, StandardRoIHead):
        raise ValueError(
            f'model.roi_head.type must be a StandardRoIHead, with one bbox '
            f'head and one sampler, but got {type(head).__name__}'
        )
    if head.bbox_sampler is None:
        raise ValueError(
            'model.train_cfg.rcnn must be there, for it says what the RoI '
            f'head of the {name} is trained on, but is not'
        )


class _TestPass:
    """What the test images yield, for links 1 to 5."""

    def __init__(self, model: nn.Module, truth: CocoObjects) -> None:
        self.model, self.truth = model, truth
        self.edges = size_edges(truth.objects)
        number = len(truth.ids)
        self.firsts = np.full((number, len(RANK_IOUS)), np.inf)
        self.duplicates = np.zeros(number)
        self.claims: List[Claims] = []
        self.predictions: List[dict] = []
        self.detections: Dict[str, List[dict]] = {}
        self.weighed: Dict[str, List[dict]] = {}

    @torch.no_grad()
    def add(self, item: Item) -> None:
        """Take an image through both stages."""
        image = see(self.model, item)
        (proposals,) = self.model.rpn_head.predict(
            image.features, image.samples, rescale=False
        )
        rows = self.truth.rows(image.id)
        bboxes = (proposals.bboxes / image.scale).cpu().numpy()
        scores = proposals.scores.cpu().numpy()
        self._rank(image.id, rows, bboxes)
        self.predictions.append(
            dict(img_id=image.id, bboxes=bboxes, scores=scores)
        )
        self._detect(image, rows, proposals)

    def _rank(
        self, image_id: int, rows: np.ndarray, bboxes: np.ndarray
    ) -> None:
        objects = self.truth.objects.bboxes[rows]
        self.firsts[rows] = first_ranks(bboxes, objects)
        found = claims(bboxes, objects, self.truth.crowds(image_id))
        self.duplicates[rows] = found.by_object
        self.claims.append(found)

    def _detect(
        self, image: Image, rows: np.ndarray, proposals: InstanceData
    ) -> None:
        objects, head = self.truth.objects, self.model.roi_head
        bboxes = proposals.bboxes.new_tensor(objects.bboxes[rows])
        labels = torch.from_numpy(objects.labels[rows]).to(bboxes.device)
        boxes, scores = proposals.bboxes, proposals.scores
        plain = own = refine(self.model, image, boxes, scores)
        if getattr(head, 'objectness_power', 0):
            plain = refine(self.model, image, boxes, scores, power=0.0)
        ways = detect_each_way(
            own,
            refine(self.model, image, bboxes * image.scale),
            (bboxes, labels),
            head.test_cfg,
        )
        weighed = detect_by_objectness(plain, scores, head.test_cfg)
        for kept, new in ((self.detections, ways), (self.weighed, weighed)):
            for name, found in new.items():
                kept.setdefault(name, []).extend(
                    pack_detections(image.id, found, self.truth.categories)
                )

    def links(self, classes: Sequence[str]) -> Links:
        """The figures, once all images are added."""
        groups = make_groups(self.truth.objects, classes, self.edges)
        ranks = matched_ranks(self.truth, self.predictions)
        data, areas = self.truth.ground_truth, quarter_areas(self.edges)
        return dict(
            recall=recall_rows(ranks, groups),
            rank=rank_rows(self.firsts, groups),
            missed=missed_rows(self.firsts, groups),
            claims=claim_rows(self.claims),
            duplicates=duplicate_rows(self.duplicates, groups),
            precision={
                way: precision_row(data, found, areas)
                for way, found in self.detections.items()
            },
            objectness={
                name: precision_row(data, found, areas)
                for name, found in self.weighed.items()
            },
        )


@torch.no_grad()
def _teach(
    model: nn.Module, items: Sequence[Item], most: int
) -> Tuple[List[Taught], Objects]:
    """Link 6, of training images seen without augmentation.

    The weights are the trained ones in evaluation mode: it is what the last
    step of a training would sample from these images. Draws are seeded.
    """
    if not items:
        raise ValueError('train_dataloader.dataset has no image')
    number = min(most, len(items))
    chosen = np.linspace(0, len(items) - 1, number).round().astype(int)
    taught, objects = [], []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for i in track_iter_progress(chosen.tolist(), file=sys.stderr):
            image = see(model, items[i])
            own, crowds = objects_of(items[i])
            proposals = train_time_proposals(
                model, image.features, image.samples
            )
            scale = image.scale
            boxes = scale.new_tensor(own.bboxes) * scale
            labels = torch.from_numpy(own.labels).to(scale.device)
            drawn = sample_rois(
                model.roi_head,
                image.features,
                proposals,
                InstanceData(bboxes=boxes, labels=labels),
                InstanceData(bboxes=scale.new_tensor(crowds) * scale),
            )
            taught.append(count(*drawn))
            objects.append(own)
    return taught, Objects(*map(np.concatenate, zip(*objects)))
