#!/usr/bin/env python
"""Compare the stds of detections with two other ways to get some.

'proposals': each detection keeps the std of the proposal that it was refined
from, as KL-RPN predicts it. 'spread': the std of the edges over four views of
the image, mirrored and of other sizes, which costs four passes. Each gets one
factor, fitted on the images of val_dataloader, and is measured on those of
test_dataloader.
"""

from typing import Dict

import numpy as np
import pandas as pd
import torch
from mmdet.evaluation import bbox_overlaps
from mmdet.structures.bbox import bbox_flip
from mmengine.structures import InstanceData
from torch.nn.functional import interpolate

from mmdet_klrpn.apis import predicting_detector
from mmdet_klrpn.evaluation import SecondStageErrors
from mmdet_klrpn.evaluation.functional import fit_std_scale, std_calibration
from mmdet_klrpn.utils import ToolParser, one_line_errors, read_config

# Scale of the input, and whether it is mirrored. The first finds the boxes.
VIEWS = ((1.0, False), (1.0, True), (0.8, False), (1.25, False))
FIGURES = {
    'nll': 'NLL',
    'coverage@50': '50%',
    'coverage@80': '80%',
    'coverage@95': '95%',
    'std_error_rank_correlation': 'rank corr.',
    'relative_std_error_rank_correlation': 'rank corr., by size',
}


class ProposalStds(SecondStageErrors):
    """Detections with the stds of their proposals."""

    @torch.no_grad()
    def _predict(self, batch: dict) -> InstanceData:
        detector = predicting_detector(self.model)
        data = detector.data_preprocessor(batch)
        samples = data['data_samples']
        features = detector.extract_feat(data['inputs'])
        (proposals,) = detector.rpn_head.predict(features, samples)
        factor = proposals.bbox_stds.new_tensor(samples[0].scale_factor * 2)
        stds = proposals.bbox_stds / factor
        # RoIs are in the order of the proposals, and have a box for each class
        # or one for all.
        self.head._pixel_stds = lambda roi, offsets, *_: stds.repeat(
            1, offsets.shape[1] // 4
        )
        (found,) = detector.roi_head.predict(
            features, [proposals], samples, rescale=True
        )
        return found


class SpreadStds(SecondStageErrors):
    """Detections with their spread over several views."""

    def _predict(self, batch: dict) -> InstanceData:
        found, *others = (self._view(batch, *view) for view in VIEWS)
        boxes = found.bboxes.numpy()
        seen = [boxes]
        for other in others:
            ious = bbox_overlaps(boxes, other.bboxes.numpy())
            ious[found.labels.numpy()[:, None] != other.labels.numpy()] = 0
            own = np.full_like(boxes, np.nan)
            if len(other) and len(boxes):
                hits = ious.max(axis=1) >= 0.5
                best = ious.argmax(axis=1)[hits]
                own[hits] = other.bboxes.numpy()[best]
            seen.append(own)
        found.bbox_stds = torch.tensor(spread(np.stack(seen)))
        return found

    @torch.no_grad()
    def _view(self, batch: dict, scale: float, mirror: bool) -> InstanceData:
        """Detections of a view, in pixels of the original image."""
        (image,), (sample,) = batch['inputs'], batch['data_samples']
        size = [round(side * scale) for side in image.shape[1:]]
        image = interpolate(image[None].float(), size, mode='bilinear')[0]
        sample = sample.clone()
        sample.set_metainfo(
            dict(
                img_shape=tuple(size),
                scale_factor=tuple(s * scale for s in sample.scale_factor),
            )
        )
        image = image.flip(-1) if mirror else image
        view = dict(inputs=[image], data_samples=[sample])
        found = self.model.test_step(view)[0].pred_instances.cpu()
        if mirror:
            found.bboxes = bbox_flip(found.bboxes, sample.ori_shape)
        return found


def spread(seen: np.ndarray) -> np.ndarray:
    """Std of each edge over views, (v, n, 4) with NaN where not found.

    One that a single view finds gets twice the mean share of the box's size:
    to be lost is a sign of doubt too. A hundredth of the size is added to all,
    so that no std is 0.
    """
    extents = np.tile(seen[0][:, 2:] - seen[0][:, :2], 2)
    counts = np.isfinite(seen[..., 0]).sum(axis=0)
    many = counts > 1
    stds = np.zeros_like(extents)
    stds[many] = np.nanstd(seen[:, many], axis=0, ddof=1)
    share = (stds[many] / extents[many]).mean() if many.any() else 0.1
    stds[~many] = 2 * share * extents[~many]
    return np.hypot(stds, 0.01 * extents)


KINDS = dict(
    predicted=SecondStageErrors, proposals=ProposalStds, spread=SpreadStds
)


def measure(
    kind: type, config: object, checkpoint: str, images: int
) -> Dict[str, float]:
    """Figures on the test images, with the factor of the validation images."""
    stage = kind(config, checkpoint)
    fitted, given = (
        stage.errors(split, 100, images) for split in ('val', 'test')
    )
    factor = fit_std_scale(fitted.errors, fitted.stds)
    figures = std_calibration(given.errors, factor * given.stds, given.sizes)
    return dict(figures, factor=factor)


def table(rows: Dict[str, Dict[str, float]]) -> str:
    """The figures in Markdown."""
    frame = pd.DataFrame.from_dict(rows, orient='index')
    return (
        frame[list(FIGURES)]
        .rename(columns=FIGURES)
        .to_markdown(floatfmt='.3f')
    )


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_detector()
    parser.add_argument(
        '--images', type=int, default=2000, help='max images per split'
    )
    args = parser.parse_args()
    rows = {
        name: measure(
            kind,
            read_config(args.config, args.cfg_options),
            args.checkpoint,
            args.images,
        )
        for name, kind in KINDS.items()
    }
    print(f'\n{table(rows)}')


if __name__ == '__main__':
    main()
