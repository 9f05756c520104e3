"""The head, with or without backbone, as a function of tensors."""

from typing import List, Tuple

from torch import Tensor, nn

from mmdet_klrpn.apis import predicting_detector, rpn_head
from mmdet_klrpn.models import KLRPNHead


class HeadOutputs(nn.Module):
    """Log-variances and offsets of every level, from its features.

    Args:
        head (KLRPNHead): The head, whose parameters are shared.
    """

    def __init__(self, head: KLRPNHead) -> None:
        super().__init__()
        self.head = head

    @property
    def input_names(self) -> List[str]:
        """``features_<level>``."""
        return [f'features_{level}' for level in range(self._levels)]

    @property
    def output_names(self) -> List[str]:
        """``log_variances_<level>``, then ``offsets_<level>``."""
        return [
            f'{name}_{level}'
            for name in ('log_variances', 'offsets')
            for level in range(self._levels)
        ]

    def example_sizes(self, scale: int = 1) -> List[Tuple[int, int, int, int]]:
        """Sizes to trace or to check with, larger for a larger scale.

        A tracer treats equal sizes as one and sizes of 0 and 1 as constants.
        So all sizes differ from each other and from the numbers of channels.
        """
        head = self.head
        channels = {head.in_channels, head.feat_channels}
        channels |= {head.rpn_cls.out_channels, head.rpn_reg.out_channels}
        needed = 1 + 2 * self._levels
        start = 2 + scale
        sizes = range(start, start + needed + len(channels))
        batch, *sides = [n for n in sizes if n not in channels][:needed]
        return [
            (batch, head.in_channels, height, width)
            for height, width in zip(sides[::2], sides[1::2])
        ]

    def forward(self, *features: Tensor) -> Tuple[Tensor, ...]:
        """Predict the Gaussians of all levels.

        Args:
            *features (Tensor): Per level, (N, C, H, W).

        Returns:
            tuple[Tensor]: Per level the log-variances of encoded offsets,
            (N, A * S, H, W), then per level their means, (N, A * 4, H, W).
        """
        logits, offsets = self.head(features)[:2]
        return (*map(self.head.log_variances, logits), *offsets)

    @property
    def _levels(self) -> int:
        return self.head.prior_generator.num_levels


class ImageOutputs(nn.Module):
    """Log-variances and offsets of every level, from images.

    Args:
        detector (nn.Module): A detector of mmdet, with ``extract_feat``.
        head (KLRPNHead): Its head.
    """

    input_names = ['images']

    def __init__(self, detector: nn.Module, head: KLRPNHead) -> None:
        super().__init__()
        self.detector = detector
        self.outputs = HeadOutputs(head)

    @property
    def output_names(self) -> List[str]:
        """As in :class:`HeadOutputs`."""
        return self.outputs.output_names

    def example_sizes(self, scale: int = 1) -> List[Tuple[int, int, int, int]]:
        """Size of a batch whose coarsest map has no side of 1."""
        coarsest = max(
            max(stride) for stride in self.outputs.head.prior_generator.strides
        )
        batch = 1 + scale
        # Odd sizes after the first: images need not fill the coarsest cells.
        height = (1 + scale) * coarsest + scale - 1
        return [(batch, 3, height, height + coarsest)]

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Predict the Gaussians of all levels.

        Args:
            images (Tensor): (N, 3, H, W), as the detector's data preprocessor
                gives them: normalised, and padded to its divisor.

        Returns:
            tuple[Tensor]: As from :class:`HeadOutputs`.
        """
        return self.outputs(*self.detector.extract_feat(images))


def find_kl_rpn(model: nn.Module) -> Tuple[nn.Module, KLRPNHead]:
    """Find the detector with a KLRPNHead in a model, and the head.

    Args:
        model (nn.Module): A detector, or a model that contains one, such as a
            tracker, or a teacher and student (the one that predicts).

    Raises:
        ValueError: If it has none.
    """
    detector = predicting_detector(model)
    head = rpn_head(detector)
    if not isinstance(head, KLRPNHead):
        raise ValueError(
            'the model has no KLRPNHead: `klrpn convert` writes the '
            'config that gives one to a detector with an RPNHead'
        )
    return detector, head
