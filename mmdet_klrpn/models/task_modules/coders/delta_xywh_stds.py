"""Propagate standard deviations through the DeltaXYWH box decoder."""

import math

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

# The decoder's own limit on dw and dh, given as an aspect ratio.
_MAX_RATIO = abs(math.log(16 / 1000))


def decode_delta_xywh_stds(
    coder: DeltaXYWHBBoxCoder,
    priors: Tensor,
    deltas: Tensor,
    stds: Tensor,
) -> Tensor:
    r"""Convert stds of encoded offsets into stds of box edges in pixels.

    The decoder computes, in x and likewise in y, with the coder's
    denormalising ``means`` :math:`m` and ``stds`` :math:`c`,

    .. math:: x_{1,2} = x_a + w_a (c_x d_x + m_x)
              \mp \tfrac12 w_a e^{c_w d_w + m_w}.

    To first order, with independent offsets,
    :math:`\mathrm{var}(x_{1,2}) = (w_a c_x \sigma_x)^2
    + (\tfrac12 w c_w \sigma_w)^2`, where w is the decoded width. Where the
    decoder clips :math:`d_w`, or with ``add_ctr_clamp`` the shift of the
    centre, its derivative is 0 and that term is left out. Clipping at the
    image border (``clip_border``) is not modelled: the std is that of the
    unclipped box.

    Args:
        coder (DeltaXYWHBBoxCoder): The coder that decodes the boxes, with its
            default ``wh_ratio_clip`` of 16 / 1000.
        priors (Tensor | BaseBoxes): (n, 4), as x1, y1, x2, y2 in input pixels.
        deltas (Tensor): (n, 4), predicted means dx, dy, dw, dh, encoded.
        stds (Tensor): (n, 4) or (n, 1), their std in encoded offsets.

    Returns:
        Tensor: (n, 4), std of x1, y1, x2, y2 in input pixels, equal for both
        edges of an axis.
    """
    priors = get_box_tensor(priors)
    prior_wh = priors[:, 2:] - priors[:, :2]
    scales = deltas.new_tensor(coder.stds)
    shifts = deltas.new_tensor(coder.means)
    stds = stds.expand(-1, 4) * scales

    deltas = deltas * scales + shifts
    shift, dwh = prior_wh * deltas[:, :2], deltas[:, 2:]
    centre_std = prior_wh * stds[:, :2]
    min_ratio = -_MAX_RATIO
    if coder.add_ctr_clamp:
        centre_std = centre_std * (shift.abs() <= coder.ctr_clamp)
        min_ratio = -math.inf
    is_free = (dwh >= min_ratio) & (dwh <= _MAX_RATIO)
    size = prior_wh * dwh.clamp(min_ratio, _MAX_RATIO).exp()
    half_size_std = 0.5 * size * stds[:, 2:] * is_free
    return torch.hypot(centre_std, half_size_std).repeat(1, 2)
