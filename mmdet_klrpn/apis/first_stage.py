"""The first stage of a detector, run alone."""

from typing import List, NamedTuple, Tuple

import torch
from mmdet.models import BaseMOTModel
from mmdet.models.detectors import RPN
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_klrpn.models.dense_heads import KLRPNHead

from .nested import predicting_detector, unwrapped

Extent = Tuple[float, float, float, float]


class FirstStage(NamedTuple):
    """Output of a detector's region proposal head for one image.

    Attributes:
        head (nn.Module): The head.
        proposals (InstanceData): ``bboxes`` (n, 4) in pixels of the original
            image, by descending ``scores`` (n, ); with KL-RPN ``bbox_stds``.
        log_vars (list[Tensor]): Log-variances of encoded offsets per level,
            (1, A * S, H, W). Empty for heads other than KL-RPN.
        scale (tuple[float, float]): Width and height of the network's input
            over those of the original image.
    """

    head: nn.Module
    proposals: InstanceData
    log_vars: List[Tensor]
    scale: Tuple[float, float]

    def extents(self) -> List[Extent]:
        """Left, right, bottom and top of each level's map.

        In pixels of the original image. Each cell is centred on its anchors.
        If the first anchors are centred on the image's corner, the map begins
        half a cell before the image and can end half a cell before its end.
        """
        generator = self.head.prior_generator
        extents = []
        for log_var, stride in zip(self.log_vars, generator.strides):
            (left, right), (top, bottom) = (
                (first * step / scale, (first + cells) * step / scale)
                for first, cells, step, scale in zip(
                    [generator.center_offset - 0.5] * 2,
                    log_var.shape[:-3:-1],
                    stride,
                    self.scale,
                )
            )
            extents.append((left, right, bottom, top))
        return extents


def rpn_head(model: nn.Module) -> nn.Module:
    """The region proposal head of a detector.

    Args:
        model (nn.Module): A model of mmdet that detects in images, or one that
            holds it, see :func:`predicting_detector`.

    Returns:
        nn.Module: ``rpn_head`` of a two-stage detector, ``bbox_head`` of the
        detector :class:`RPN`.

    Raises:
        ValueError: If it has no such head, or takes videos.
    """
    if isinstance(unwrapped(model), BaseMOTModel):
        raise ValueError(
            f'a {type(unwrapped(model)).__name__} takes videos, not images: '
            'give the config and checkpoint of its detector alone'
        )
    detector = predicting_detector(model)
    name = 'bbox_head' if isinstance(detector, RPN) else 'rpn_head'
    head = getattr(detector, name, None)
    if head is None:
        raise ValueError(
            f'a {type(detector).__name__} proposes no regions: take a '
            'two-stage detector with an rpn_head, or the detector RPN'
        )
    return head


@torch.no_grad()
def propose(model: nn.Module, batch: dict) -> List[FirstStage]:
    """Run the first stage of a detector.

    Args:
        model (nn.Module): A model as for :func:`rpn_head`, in evaluation mode.
        batch (dict): ``inputs`` and ``data_samples`` of a data loader.

    Returns:
        list[FirstStage]: One per image.

    Raises:
        ValueError: If the model has no region proposal head.
    """
    head = rpn_head(model)
    batch = unwrapped(model).data_preprocessor(batch)
    samples = batch['data_samples']
    features = predicting_detector(model).extract_feat(batch['inputs'])
    proposals = head.predict(features, samples, rescale=True)
    log_vars: List[Tensor] = []
    if isinstance(head, KLRPNHead):
        logits = head(features)[0]
        log_vars = [head.log_variances(level) for level in logits]
    return [
        FirstStage(
            head,
            proposals[i],
            [level[i : i + 1] for level in log_vars],
            tuple(sample.scale_factor[:2]),
        )
        for i, sample in enumerate(samples)
    ]
