"""Standard deviations through the DeltaXYWH box decoder."""

import math

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

# The decoder's own limit on dw and dh, which it takes as an aspect ratio.
_MAX_RATIO = abs(math.log(16 / 1000))


def decode_delta_xywh_stds(
    coder: DeltaXYWHBBoxCoder,
    priors: Tensor,
    deltas: Tensor,
    stds: Tensor,
) -> Tensor:
    r"""Propagate the std of encoded offsets to that of box corners in pixels.

    The decoder computes, in x and likewise in y, with the coder's
    denormalising ``means`` :math:`m` and ``stds`` :math:`c`,

    .. math:: x_{1,2} = x_a + w_a (c_x d_x + m_x)
              \mp \tfrac12 w_a e^{c_w d_w + m_w}.

    To first order, with independent offsets,
    :math:`\mathrm{var}(x_{1,2}) = (w_a c_x \sigma_x)^2
    + (\tfrac12 w c_w \sigma_w)^2`, where w is the decoded width. The clipping
    of boxes to the image is left out: the std is that of the unclipped box.

    Args:
        coder (DeltaXYWHBBoxCoder): The coder that decodes the boxes.
        priors (Tensor | BaseBoxes): (n, 4), as x1, y1, x2, y2 in input pixels.
        deltas (Tensor): (n, 4), predicted means dx, dy, dw, dh, encoded.
        stds (Tensor): (n, 4) or (n, 1), their std in encoded offsets.

    Returns:
        Tensor: (n, 4), std of x1, y1, x2, y2 in input pixels. Corners of one
        axis have the same.
    """
    priors = get_box_tensor(priors)
    prior_wh = priors[:, 2:] - priors[:, :2]
    scales = deltas.new_tensor(coder.stds)
    shifts = deltas.new_tensor(coder.means)
    stds = stds.expand(-1, 4) * scales

    dwh = (deltas * scales + shifts)[:, 2:].clamp(-_MAX_RATIO, _MAX_RATIO)
    centre_std = prior_wh * stds[:, :2]
    half_size_std = 0.5 * prior_wh * dwh.exp() * stds[:, 2:]
    return torch.hypot(centre_std, half_size_std).repeat(1, 2)
