"""A second prediction for the best anchors, from the features in their boxes.

Shapes, for this file:
    N     images in the batch
    S     channels of the score per anchor (``cls_out_channels``)
    K     boxes of an image that are predicted again
    n     boxes of the batch
"""

from typing import NamedTuple, Sequence, Tuple

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.ops import roi_align


class Boxes(NamedTuple):
    """Boxes that are predicted again.

    Attributes:
        boxes (Tensor): (n, 4), x1, y1, x2, y2 in input pixels.
        images (Tensor): (n, ) image of each box, in [0, N).
        levels (Tensor): (n, ) level of each box's anchor.
    """

    boxes: Tensor
    images: Tensor
    levels: Tensor


@MODELS.register_module()
class SecondLook(BaseModule):
    """Predicts scores and offsets again, from the features inside boxes.

    An anchor's prediction reads the features around the anchor, which hardly
    show whether the predicted box fits. This module pools the features inside
    the boxes of the best anchors, and predicts offsets from each box and a
    second score. Cascade RPN (Vu et al., NeurIPS 2019) predicts twice for all
    anchors, by adaptive convolutions.

    Each box is pooled from the level of its anchor, because anchors have the
    same size in cells on all levels.

    Args:
        in_channels (int): Channels of the features.
        num_scores (int): S.
        strides (Sequence[float]): Stride of each level, in input pixels.
        num (int): K for proposals, in training and tests. Defaults to 1000.
        power (float): Exponent of the second score before the first is
            multiplied by it. Defaults to 0.2.
        feat_channels (int): Channels of the hidden layer. Defaults to 128.
        roi_size (int): Bins of a box in each direction. Defaults to 3.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        num_scores: int,
        strides: Sequence[float],
        num: int = 1000,
        power: float = 0.2,
        feat_channels: int = 128,
        roi_size: int = 3,
    ) -> None:
        # As RPNHead initialises its own layers.
        super().__init__(
            init_cfg=dict(type='Normal', layer='Linear', std=0.01)
        )
        if not isinstance(num, int) or num < 1:
            raise ValueError(
                f'second_look.num must be an integer >= 1, but got {num!r}'
            )
        if not 0 <= power < float('inf'):
            raise ValueError(
                'second_look.power must be a finite number >= 0, but got '
                f'{power!r}'
            )
        self.num = num
        self.power = power
        self.strides = list(strides)
        self.roi_size = roi_size
        self.fc = nn.Linear(in_channels * roi_size**2, feat_channels)
        self.cls = nn.Linear(feat_channels, num_scores)
        self.reg = nn.Linear(feat_channels, 4)

    def forward(
        self, features: Sequence[Tensor], rois: Boxes
    ) -> Tuple[Tensor, Tensor]:
        """Predict from the features inside boxes.

        Args:
            features (Sequence[Tensor]): Per level, (N, C, H, W).
            rois (Boxes): The boxes.

        Returns:
            tuple: Logits (n, S), in float32 at least, and offsets (n, 4),
            encoded with respect to the boxes.
        """
        x = relu(self.fc(self._pool(features, rois).flatten(1)))
        dtype = self.cls.weight.dtype
        # In half precision scores would tie.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.cls(x.to(dtype))
        return logits, self.reg(x)

    def _pool(self, features: Sequence[Tensor], rois: Boxes) -> Tensor:
        """Features inside boxes, (n, C, roi_size, roi_size)."""
        # RoIAlign would read outside the map for a box that is not finite.
        boxes = rois.boxes.float().nan_to_num(0, 0, 0)
        boxes = torch.cat([rois.images[:, None].to(boxes), boxes], dim=1)
        order = rois.levels.argsort(stable=True)
        # Wait for the device once, not once per level.
        counts = rois.levels.bincount(minlength=len(features)).tolist()
        pooled = torch.cat(
            [
                roi_align(
                    level.to(boxes), part, self.roi_size, 1 / stride, 2, True
                )
                for level, part, stride in zip(
                    features, boxes[order].split(counts), self.strides
                )
            ]
        )
        return torch.empty_like(pooled).index_copy(0, order, pooled)
