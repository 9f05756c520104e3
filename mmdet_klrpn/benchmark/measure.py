"""Measure a detector: all values of a run but times, in one process."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Tuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..datasets.leaf_datasets import leaf_datasets
from ..evaluation.functional.coco_matching import pack
from ..utils.output_files import write_whole
from .bootstrap import collect_matches, name_values, save_matches
from .built import describe
from .columns import (
    AP_NAMES,
    AREAS,
    EQUAL_RECALLS,
    PROPOSAL_NUMBERS,
    RECALL_NUMBERS,
)
from .cost import complexity, environment, inference_memory, read_logs
from .detection import (
    by_area,
    evaluate,
    false_positives,
    pool,
    precision_curve,
)
from .ground_truth import read_ground_truth
from .recall import evaluate_proposals
from .runs import DETECTIONS, GROUND_TRUTH, MATCHES, METRICS, Run
from .stages import Stages, open_run, single_images

# Images that operations and memory, which hardly differ, are those of.
_COST_IMAGES = 5
_AREA_OF = dict(S='small', M='medium', L='large')
_PARTS = ('bboxes', 'scores', 'labels')  # of a prediction
Row = Tuple[str, str, float, int]  # metric, at, value and n of columns.py


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
    costs, training = read_logs(run.folder)
    costs.update(
        complexity(model, [model.data_preprocessor(b) for b in batches]),
        inference_mb=inference_memory(stages, batches),
    )
    seen = observe(stages, loader, [image['id'] for image in truth['images']])
    rows = [(metric, '', value, 0) for metric, value in costs.items()]
    rows += evaluate_all(truth, seen, run.folder / MATCHES)
    folder = next(leaf_datasets(loader.dataset)).data_prefix.get('img', '')
    metrics = dict(
        detector=name,
        seed=run.seed,
        split=split,
        checkpoint=Path(checkpoint).name,
        img_prefix=str(Path(folder).absolute()),
        num_proposals=stages.number,
        images=len(truth['images']),
        objects=sum(not a['iscrowd'] for a in truth['annotations']),
        classes=len(truth['categories']),
        rows=[[m, at, None if v != v else v, n] for m, at, v, n in rows],
        built=describe(model),
        training=training,
        environment=environment(next(model.parameters()).device),
        resolved_config=config.pretty_text,
    )
    truth_bytes = gzip.compress(json.dumps(truth).encode(), mtime=0)
    (run.folder / GROUND_TRUTH).write_bytes(truth_bytes)
    if stages.roi_head:
        found, counts = seen[''], [len(p['scores']) for p in seen['']]
        arrays = [np.concatenate([p[key] for p in found]) for key in _PARTS]
        arrays.append(np.repeat(np.arange(len(found)), counts))
        kinds = np.float32, np.float32, np.int32, np.int32
        arrays = (array.astype(kind) for array, kind in zip(arrays, kinds))
        named = dict(zip((*_PARTS, 'images'), arrays))
        stds = [p['bbox_stds'] for p in found if 'bbox_stds' in p]
        if stds:
            named['bbox_stds'] = np.concatenate(stds).astype(np.float32)
        np.savez_compressed(run.folder / DETECTIONS, **named)
    # Last, since it says that all is there.
    write_whole(run.folder / METRICS, json.dumps(metrics, indent=1))


@torch.no_grad()
def observe(
    stages: Stages, loader: DataLoader, image_ids: Sequence[int]
) -> Dict[str, List[dict]]:
    """Detect in all images, at each number of proposals.

    Args:
        stages (Stages): The detector.
        loader (DataLoader): Of the images.
        image_ids (Sequence[int]): Images to give predictions of. One that is
            not loaded has none, as in ``CocoMetric``.

    Returns:
        dict[str, list[dict]]: Predictions of each image as :func:`pack` takes
        them: 'proposals' and, of a detector with a second stage, detections
        at '' of the config's own number of proposals, and '@n' of each of
        ``PROPOSAL_NUMBERS``.
    """
    most = max(*PROPOSAL_NUMBERS, *RECALL_NUMBERS)
    found: Dict[str, Dict[int, dict]] = {'proposals': {}}
    for batch in single_images(loader):
        prediction = stages.run(batch)
        (sample,) = stages.samples
        best = stages.propose(most)
        by_at = {'proposals': best}
        if stages.roi_head:
            by_at[''] = prediction
            for n in PROPOSAL_NUMBERS:
                # Where scores tie, the best of many proposals may be others.
                own = n == stages.number
                by_at[f'@{n}'] = prediction if own else stages.detect(best[:n])
        for at, instances in by_at.items():
            keys = _PARTS if at else (*_PARTS, 'bbox_stds')
            arrays = {
                key: instances[key].cpu().numpy()
                for key in keys
                if key in instances
            }
            found.setdefault(at, {})[sample.img_id] = arrays
        scaled = found['proposals'][sample.img_id]
        scaled['bboxes'] = scaled['bboxes'] / np.tile(sample.scale_factor, 2)
    nothing = dict(zip(_PARTS, (np.zeros((0, 4)), np.zeros(0), np.zeros(0))))
    return {
        at: [dict(own.get(i, nothing), img_id=i) for i in image_ids]
        for at, own in found.items()
    }


def evaluate_all(
    truth: dict, seen: Dict[str, List[dict]], path: Path
) -> List[Row]:
    """Compare predictions with objects, and save how they match.

    Args:
        truth (dict): COCO annotations.
        seen (dict[str, list[dict]]): What :func:`observe` returns.
        path (Path): Where to save the matches.
    """
    recalls = evaluate_proposals(truth, seen['proposals'])
    images, sizes = len(recalls.objects), recalls.objects.sum(axis=0)
    objects = dict(zip(AREAS, sizes.tolist()))
    counts = [len(p['scores']) for p in seen['proposals']]
    rows = [
        ('proposals', f'@{n}', float(np.mean(np.minimum(counts, n))), images)
        for n in PROPOSAL_NUMBERS
    ]
    errors = recalls.false_positives
    rows += _curve('proposal FP', EQUAL_RECALLS, errors, images)
    matches = {}
    names = {c['id']: c['name'] for c in truth['categories']}
    for at in (at for at in seen if at != 'proposals'):
        results = pack(seen[at], list(names), labelled=True)
        coco_eval = evaluate(truth, results, {} if at else None)
        classes = [names[i] for i in coco_eval.params.catIds]
        aps = ['AP'] if at else AP_NAMES
        matches[at] = collect_matches(coco_eval, classes, aps)
        if not at:
            recalled = [f'{i / 100:.2f}' for i in range(101)]
            for name, iou in (('precision50', 0), ('precision75', 5)):
                curve = precision_curve(coco_eval, iou)
                rows += _curve(name, recalled, curve, objects['all'])
            scores, hits = pool(by_area(coco_eval, 'all').ravel())
            errors = false_positives(scores, hits, objects['all'], images)
            rows += _curve('FP', EQUAL_RECALLS, errors, images)
            own = matches[at].objects[AREAS.index('all')].sum(axis=1)
            per_class = dict(zip(classes, own.tolist()))
    values = name_values(matches, recalls, np.ones((1, images)))
    for (metric, at), value in values.items():
        area = _AREA_OF.get(metric.rpartition('_')[2], 'all')
        n = per_class[at] if metric == 'class AP' else objects[area]
        rows.append((metric, at, float(value[0]), n))
    save_matches(path, matches, recalls)
    return rows


def _curve(
    metric: str, ats: Iterable[str], values: np.ndarray, n: int
) -> List[Row]:
    return [(metric, at, value, n) for at, value in zip(ats, values.tolist())]
