"""Numbers that turn exported outputs into boxes and scores."""

from torch import nn

from mmdet_klrpn.apis.nested import unwrapped
from mmdet_klrpn.models import KLRPNHead


def describe(model: nn.Module, head: KLRPNHead) -> dict:
    """List all numbers that a decoder without PyTorch needs.

    Args:
        model (nn.Module): The whole model, whose images are preprocessed.
        head (KLRPNHead): Its head.

    Returns:
        dict: ``num_stds``, ``neg_std`` and ``std_scale`` of the head, and
        ``has_second_look``: whether the head has a second look, which is not
        exported; ``strides`` as [x, y] and ``base_anchors``, (A, 4), in input
        pixels, of each level; ``offset_means`` and ``offset_stds`` of the bbox
        coder; and ``mean``, ``std``, ``bgr_to_rgb`` and ``pad_size_divisor``
        of the data preprocessor.
    """
    generator, coder = head.prior_generator, head.bbox_coder
    preprocessor = unwrapped(model).data_preprocessor
    # A semi-supervised model wraps the preprocessor of its images.
    preprocessor = getattr(preprocessor, 'data_preprocessor', preprocessor)
    return dict(
        num_stds=head.num_stds,
        neg_std=head.neg_std,
        std_scale=head.std_scale,
        has_second_look=head.second_look is not None,
        strides=[list(stride) for stride in generator.strides],
        base_anchors=[level.tolist() for level in generator.base_anchors],
        offset_means=list(coder.means),
        offset_stds=list(coder.stds),
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        bgr_to_rgb=preprocessor._channel_conversion,
        pad_size_divisor=preprocessor.pad_size_divisor,
    )
