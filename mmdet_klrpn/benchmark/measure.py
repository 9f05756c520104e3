"""Measure a finished run: all figures of it, in one process."""

import gzip
import json
import random
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader

from mmdet_klrpn.apis import load_detector

from .columns import AP_NAMES, PROPOSAL_NUMBERS, RECALL_NUMBERS
from .cost import (
    FLOP_IMAGES,
    complexity,
    peak_memory,
    start_peak,
    training_cost,
)
from .detection import (
    average_precisions,
    evaluate,
    pack_detections,
    precision_curve,
)
from .ground_truth import read_ground_truth
from .provenance import environment, trained_with
from .recall import evaluate_proposals, recall_table
from .runs import DETECTIONS, GROUND_TRUTH, METRICS, RECALLS_FILE, Run

# Passes over the first image before times count.
WARM_UP = 3
CURVE_IOUS = (0.5, 0.75)


class Observations(NamedTuple):
    """What a pass over the test images yields.

    Attributes:
        detections (dict[int, list[dict]]): COCO results by number of
            proposals.
        proposals (list[dict]): As ProposalMetric takes them.
        seconds (dict[str, list[float]]): Of each image, ``inference`` of all,
            ``first_stage`` up to the proposals, and ``second_stage@n``.
        peak_memory_mb (float): Of inference.
    """

    detections: Dict[int, List[dict]]
    proposals: List[dict]
    seconds: Dict[str, List[float]]
    peak_memory_mb: float


def measure(run: Run) -> None:
    """Write a run's metrics, detections and recalls into its folder.

    Args:
        run (Run): Must be finished.

    Raises:
        ValueError: If it is not, if its detector has not two stages, or if
            its test set has no COCO annotations.
    """
    checkpoint = run.checkpoint
    if checkpoint is None:
        raise ValueError(f'{run.folder} has no finished training')
    config = Config.fromfile(run.dumped_config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    loader = Runner.build_dataloader(dict(config.test_dataloader))
    classes = loader.dataset.metainfo['classes']
    ground_truth = read_ground_truth(config, classes)
    device = torch.device(get_device())
    text = config.pretty_text  # building the model changes it
    model = load_detector(config, str(checkpoint), device)
    if not (hasattr(model, 'rpn_head') and hasattr(model, 'roi_head')):
        raise ValueError(f'{run.name}: {type(model).__name__} has no RPN')

    categories = [c['id'] for c in ground_truth['categories']]
    seen = observe(model, loader, categories)
    own = own_number(model)
    by_number = {}
    for number, found in seen.detections.items():
        coco_eval = evaluate(ground_truth, found)
        by_number[number] = dict(
            _named(average_precisions(coco_eval)),
            **_second_stage(seen, number, own),
        )
        if number == own:
            curves = {
                str(iou): precision_curve(coco_eval, iou).tolist()
                for iou in CURVE_IOUS
            }
    recalls = evaluate_proposals(ground_truth, seen.proposals)
    metrics = dict(
        config=run.config,
        seed=run.seed,
        checkpoint=checkpoint.name,
        num_images=len(ground_truth['images']),
        num_proposals=own,
        by_proposals=by_number,
        precision=curves,
        recall=recall_table(recalls),
        cost=dict(
            complexity(model, _batches(model, loader)),
            **training_cost(run.folder),
            inference_ms=_median_ms(seen.seconds['inference']),
            first_stage_ms=_median_ms(seen.seconds['first_stage']),
            peak_memory_mb=seen.peak_memory_mb,
        ),
        training=trained_with(run.folder),
        environment=environment(device),
        resolved_config=text,
    )
    write_gzip(run.folder / GROUND_TRUTH, ground_truth)
    write_gzip(run.folder / DETECTIONS, seen.detections[own])
    np.savez_compressed(run.folder / RECALLS_FILE, **recalls._asdict())
    # Last, since it says that all is there.
    part = run.folder / f'{METRICS}.part'
    part.write_text(json.dumps(_without_nan(metrics), indent=1))
    part.replace(run.folder / METRICS)


def own_number(model: nn.Module) -> int:
    """How many proposals the config itself gives the second stage."""
    return int(model.rpn_head.test_cfg.max_per_img)


@torch.no_grad()
def observe(
    model: nn.Module, loader: DataLoader, category_ids: List[int]
) -> Observations:
    """Detect on all test images at each number of proposals.

    Args:
        model (nn.Module): A two-stage detector, in evaluation mode.
        loader (DataLoader): Of the test images.
        category_ids (list[int]): Category of each label.
    """
    device = next(model.parameters()).device
    numbers = sorted({*PROPOSAL_NUMBERS, own_number(model)})
    seen = Observations({n: [] for n in numbers}, [], {}, 0.0)
    peak, shuffle = 0.0, random.Random(0)
    for batch in _single_images(loader):
        for _ in range(1 if seen.proposals else WARM_UP):
            shuffle.shuffle(numbers)
            image = _Image(model, batch)
            start_peak(device)
            image.infer()
            peak = max(peak, peak_memory(device))
            image.vary(numbers, max(*numbers, *RECALL_NUMBERS))
        for name, seconds in image.seconds.items():
            seen.seconds.setdefault(name, []).append(seconds)
        seen.proposals.append(image.scaled_proposals())
        for number, instances in image.detections.items():
            seen.detections[number] += pack_detections(
                image.id, instances, category_ids
            )
    return seen._replace(peak_memory_mb=peak)


class _Image:
    """An image on its way through a detector, and the time it takes."""

    def __init__(self, model: nn.Module, batch: dict) -> None:
        self.model, self.batch = model, batch
        self.device = next(model.parameters()).device
        self.seconds: Dict[str, float] = {}
        self.detections: Dict[int, Dict[str, np.ndarray]] = {}

    @property
    def id(self) -> int:
        """Its id in the annotations."""
        return self.samples[0].img_id

    def infer(self) -> None:
        """Detect as the config says, timing the whole and the first stage."""
        before = time.perf_counter()
        self.data = self.model.data_preprocessor(self.batch)
        self.samples = self.data['data_samples']
        self.features = self.model.extract_feat(self.data['inputs'])
        own = own_number(self.model)
        proposals = self._propose(own)
        first = self._now()
        (result,) = self._second_stage(proposals)
        self.seconds['inference'] = self._now() - before
        self.seconds['first_stage'] = first - before
        self.detections[own] = _arrays(result)

    def vary(self, numbers: Sequence[int], most: int) -> None:
        """Detect again from the best proposals, as many as each number."""
        self.proposals = self._propose(most)
        for number in numbers:
            best = [proposals[:number] for proposals in self.proposals]
            before = self._now()
            (result,) = self._second_stage(best)
            self.seconds[f'second_stage@{number}'] = self._now() - before
            # Of the config's own number there are the config's detections,
            # from which those here could differ where scores tie.
            self.detections.setdefault(number, _arrays(result))

    def scaled_proposals(self) -> dict:
        """Proposals in pixels of the original image."""
        (proposals,) = self.proposals
        scale = np.tile(self.samples[0].scale_factor, 2)
        return dict(
            img_id=self.id,
            bboxes=proposals.bboxes.cpu().numpy() / scale,
            scores=proposals.scores.cpu().numpy(),
        )

    def _propose(self, number: int) -> List[InstanceData]:
        # It sorts by score and truncates: the best n of a larger number are
        # what it proposes when n is asked for.
        head = self.model.rpn_head
        own = head.test_cfg.max_per_img
        head.test_cfg.max_per_img = number
        try:
            return head.predict(self.features, self.samples, rescale=False)
        finally:
            head.test_cfg.max_per_img = own

    def _second_stage(
        self, proposals: List[InstanceData]
    ) -> List[InstanceData]:
        return self.model.roi_head.predict(
            self.features, proposals, self.samples, rescale=True
        )

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _arrays(result: InstanceData) -> Dict[str, np.ndarray]:
    """What detections are made of, on the CPU."""
    return {
        key: result[key].cpu().numpy()
        for key in ('bboxes', 'scores', 'labels')
    }


def _single_images(loader: DataLoader) -> Iterator[dict]:
    """Batches of one image, whatever the loader's batch is."""
    for batch in loader:
        for i in range(len(batch['inputs'])):
            yield {key: values[i : i + 1] for key, values in batch.items()}


def _batches(model: nn.Module, loader: DataLoader) -> List[dict]:
    """The first images, preprocessed."""
    batches = []
    for batch in _single_images(loader):
        batches.append(model.data_preprocessor(batch))
        if len(batches) == FLOP_IMAGES:
            break
    return batches


def _second_stage(
    seen: Observations, number: int, own: int
) -> Dict[str, float]:
    """What the second stage gets at a number of proposals, and takes."""
    seconds = seen.seconds[f'second_stage@{number}']
    reference = seen.seconds[f'second_stage@{own}']
    given = [min(number, len(p['scores'])) for p in seen.proposals]
    return dict(
        mean_proposals=float(np.mean(given)),
        second_stage_ms=_median_ms(seconds),
        # By image, since both were timed one after the other.
        second_stage_share=float(np.median(np.divide(seconds, reference))),
    )


def _median_ms(seconds: List[float]) -> float:
    return 1000 * float(np.median(seconds))


def _named(precisions: np.ndarray) -> Dict[str, float]:
    return dict(zip(AP_NAMES, precisions.tolist()))


def _without_nan(node: object) -> object:
    """Null for what there is no value of, which JSON has no NaN for."""
    if isinstance(node, dict):
        return {key: _without_nan(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_without_nan(value) for value in node]
    return None if isinstance(node, float) and np.isnan(node) else node


def write_gzip(path: Path, content: object) -> None:
    """Write JSON, the same bytes for the same content."""
    data = gzip.compress(json.dumps(content).encode(), mtime=0)
    path.write_bytes(data)
