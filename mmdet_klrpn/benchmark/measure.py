"""Measure a detector: all values of a run but times, in one process."""

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader

from ..datasets.leaf_datasets import leaf_datasets
from ..utils.output_files import write_whole
from .bootstrap import collect_matches, name_precisions, save_matches
from .built import describe
from .columns import (
    AP_NAMES,
    AREAS,
    EQUAL_RECALLS,
    IOUS,
    PROPOSAL_NUMBERS,
    RECALL_NUMBERS,
)
from .cost import complexity, inference_memory, training_cost
from .detection import (
    by_area,
    evaluate,
    false_positives,
    pack,
    pool,
    precision_curve,
)
from .ground_truth import read_ground_truth
from .provenance import environment, trained_with
from .recall import evaluate_proposals, name_recalls
from .runs import DETECTIONS, GROUND_TRUTH, MATCHES, METRICS, Run
from .stages import Stages, open_run, single_images

# Images that operations and memory, which hardly differ, are those of.
_COST_IMAGES = 5
_AREA_OF = dict(S='small', M='medium', L='large')
Row = Tuple[str, str, float, int]  # metric, at, value and n of columns.py


class Observations(NamedTuple):
    """What a detector predicts for each image of a split.

    Attributes:
        proposals (list[dict]): As :func:`evaluate_proposals` takes them.
        detections (dict[str, list[dict]]): As :func:`pack` takes them, at
            '' of the config's own number of proposals, and '@n' of each of
            ``PROPOSAL_NUMBERS``. Empty without a second stage.
    """

    proposals: List[dict]
    detections: Dict[str, List[dict]]


def measure(run: Run, name: str, checkpoint: str, split: str) -> None:
    """Write a run's measurements into its folder.

    ``METRICS`` holds them as JSON, and all that a report says of the run;
    ``MATCHES`` is what they are resampled from. ``DETECTIONS`` has ``images``
    (positions in ``GROUND_TRUTH``), ``bboxes``, ``scores`` and ``labels``.

    Args:
        run (Run): Its folder has the resolved config.
        name (str): The detector's.
        checkpoint (str): Path or URL of its weights.
        split (str): 'test' or 'val', whose images to measure on.

    Raises:
        ValueError: If the weights do not fit, the detector proposes no
            regions, or the split has no COCO annotations.
    """
    config, loader, stages = open_run(run, checkpoint, split)
    model, classes = stages.model, loader.dataset.metainfo['classes']
    truth = read_ground_truth(config, classes, split)
    batches = list(itertools.islice(single_images(loader), _COST_IMAGES))
    costs = dict(
        complexity(model, [model.data_preprocessor(b) for b in batches]),
        **training_cost(run.folder),
        inference_mb=inference_memory(stages, batches),
    )
    seen = observe(stages, loader, [image['id'] for image in truth['images']])
    rows = [(metric, '', value, 0) for metric, value in costs.items()]
    rows += evaluate_all(truth, seen, run.folder / MATCHES)
    metrics = dict(
        detector=name,
        seed=run.seed,
        split=split,
        checkpoint=Path(checkpoint).name,
        img_prefix=_image_folder(loader),
        num_proposals=stages.number,
        images=len(truth['images']),
        objects=sum(not a['iscrowd'] for a in truth['annotations']),
        classes=len(truth['categories']),
        rows=[[m, at, None if v != v else v, n] for m, at, v, n in rows],
        built=describe(model),
        training=trained_with(run.folder),
        environment=environment(next(model.parameters()).device),
        resolved_config=config.pretty_text,
    )
    truth_bytes = gzip.compress(json.dumps(truth).encode(), mtime=0)
    (run.folder / GROUND_TRUTH).write_bytes(truth_bytes)
    if stages.roi_head:
        _save_detections(run.folder / DETECTIONS, seen.detections[''])
    # Last, since it says that all is there.
    write_whole(run.folder / METRICS, json.dumps(metrics, indent=1))


@torch.no_grad()
def observe(
    stages: Stages, loader: DataLoader, image_ids: Sequence[int]
) -> Observations:
    """Detect in all images, at each number of proposals.

    Args:
        stages (Stages): The detector.
        loader (DataLoader): Of the images.
        image_ids (Sequence[int]): Images to give predictions of. One that is
            not loaded has none, as in ``CocoMetric``.
    """
    numbers = PROPOSAL_NUMBERS if stages.roi_head else ()
    most = max(*PROPOSAL_NUMBERS, *RECALL_NUMBERS)
    found: Dict[str, Dict[int, dict]] = {'proposals': {}}
    for batch in single_images(loader):
        prediction = stages.run(batch)
        (sample,) = stages.samples
        best = stages.propose(most)
        by_at = {'proposals': best}
        if stages.roi_head:
            by_at[''] = prediction
        for n in numbers:
            # Where scores tie, the best of many proposals may be others.
            own = n == stages.number
            by_at[f'@{n}'] = prediction if own else stages.detect(best[:n])
        for at, instances in by_at.items():
            arrays = _arrays(sample.img_id, instances)
            found.setdefault(at, {})[sample.img_id] = arrays
        scaled = found['proposals'][sample.img_id]
        scaled['bboxes'] = scaled['bboxes'] / np.tile(sample.scale_factor, 2)
    nothing = InstanceData(
        bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0)
    )
    ordered = {
        at: [own.get(i) or _arrays(i, nothing) for i in image_ids]
        for at, own in found.items()
    }
    return Observations(ordered.pop('proposals'), ordered)


def _arrays(image_id: int, instances: InstanceData) -> dict:
    """Predictions of an image, on the CPU."""
    arrays = {
        key: instances[key].cpu().numpy()
        for key in ('bboxes', 'scores', 'labels')
    }
    return dict(arrays, img_id=image_id)


def evaluate_all(truth: dict, seen: Observations, path: Path) -> List[Row]:
    """Compare predictions with objects, and save how they match.

    Args:
        truth (dict): COCO annotations.
        seen (Observations): Predictions of all of its images.
        path (Path): Where to save the matches.
    """
    recalls = evaluate_proposals(truth, seen.proposals)
    images, sizes = len(recalls.objects), recalls.objects.sum(axis=0)
    objects = dict(zip(AREAS, sizes.tolist()))
    by_metric = name_recalls(recalls.recall())
    counts = [len(p['scores']) for p in seen.proposals]
    rows = [
        ('proposals', f'@{n}', float(np.mean(np.minimum(counts, n))), images)
        for n in PROPOSAL_NUMBERS
    ]
    rows += _curve(
        'proposal FP', EQUAL_RECALLS, recalls.false_positives, images
    )
    matches = {}
    names = {c['id']: c['name'] for c in truth['categories']}
    for at, predictions in seen.detections.items():
        coco_eval = evaluate(
            truth, pack(predictions, list(names)), sizes=not at
        )
        classes = [names[i] for i in coco_eval.params.catIds]
        aps = ['AP'] if at else AP_NAMES
        matches[at] = collect_matches(coco_eval, classes, aps)
        by_metric.update(
            name_precisions(matches[at], np.ones((1, images)), at)
        )
        if not at:
            rows += _detection_curves(coco_eval, objects['all'], images)
    per_class = Counter(
        names[a['category_id']]
        for a in truth['annotations']
        if not a['iscrowd']
    )
    for (metric, at), value in by_metric.items():
        area = _AREA_OF.get(metric.rpartition('_')[2], 'all')
        n = per_class[at] if metric == 'class AP' else objects[area]
        rows.append((metric, at, float(np.squeeze(value)), n))
    save_matches(path, matches, recalls)
    return rows


def _curve(
    metric: str, ats: Sequence[str], values: Sequence[float], n: int
) -> List[Row]:
    return [(metric, at, float(v), n) for at, v in zip(ats, values)]


def _detection_curves(
    coco_eval: COCOeval, objects: int, images: int
) -> List[Row]:
    """Precision by recall, and false positives at equal recall."""
    recalls = [f'{i / 100:.2f}' for i in range(101)]
    rows = []
    for name, iou in (('precision50', '0.50'), ('precision75', '0.75')):
        values = precision_curve(coco_eval, IOUS.index(iou))
        rows += _curve(name, recalls, values, objects)
    of_all_sizes = itertools.chain.from_iterable(by_area(coco_eval, 'all'))
    scores, hits = pool(of_all_sizes)
    values = false_positives(scores, hits, objects, images)
    return rows + _curve('FP', EQUAL_RECALLS, values, images)


def _image_folder(loader: DataLoader) -> str:
    """Where the files of the annotations are."""
    for dataset in leaf_datasets(loader.dataset):
        return str(Path(dataset.data_prefix.get('img', '')).absolute())
    return ''


def _save_detections(path: Path, predictions: Sequence[dict]) -> None:
    images = [np.full(len(p['scores']), i) for i, p in enumerate(predictions)]
    arrays = {
        key: np.concatenate([p[key] for p in predictions])
        for key in ('bboxes', 'scores', 'labels')
    }
    np.savez_compressed(
        path,
        images=np.concatenate(images).astype(np.int32),
        bboxes=arrays['bboxes'].astype(np.float32),
        scores=arrays['scores'].astype(np.float32),
        labels=arrays['labels'].astype(np.int32),
    )
