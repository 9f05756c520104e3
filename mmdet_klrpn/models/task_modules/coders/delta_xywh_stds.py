"""Standard deviations through the DeltaXYWH box decoder."""

import math

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor


def decode_delta_xywh_stds(
    coder: DeltaXYWHBBoxCoder,
    priors: Tensor,
    deltas: Tensor,
    stds: Tensor,
    wh_ratio_clip: float = 16 / 1000,
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
        wh_ratio_clip (float): The decoder's limit on exp(dw), as its inverse.

    Returns:
        Tensor: (n, 4), std of x1, y1, x2, y2 in input pixels. Corners of one
        axis have the same.
    """
    priors = get_box_tensor(priors)
    prior_wh = priors[:, 2:] - priors[:, :2]
    scales = deltas.new_tensor(coder.stds)
    shifts = deltas.new_tensor(coder.means)
    stds = stds.expand(-1, 4) * scales

    max_ratio = abs(math.log(wh_ratio_clip))
    dwh = (deltas * scales + shifts)[:, 2:].clamp(-max_ratio, max_ratio)
    centre_std = prior_wh * stds[:, :2]
    half_size_std = 0.5 * prior_wh * dwh.exp() * stds[:, 2:]
    return torch.hypot(centre_std, half_size_std).repeat(1, 2)
