"""Position-sensitive RoI pooling as the authors of R-FCN round it."""

from typing import Tuple

import torch
from torch import Tensor, nn


def ps_roi_pool(
    maps: Tensor, rois: Tensor, output_size: int, spatial_scale: float
) -> Tensor:
    r"""Mean of the cells of each bin of an RoI, from the maps of that bin.

    Dai et al., "R-FCN", NeurIPS 2016, equation 1, with the rounding of the
    authors' code. An RoI from :math:`x_1` to :math:`x_2` and the scale s of
    the map give, in cells and likewise in y,

    .. math:: a = s \, \mathrm{round}(x_1), \quad
              b = s \, (\mathrm{round}(x_2) + 1), \quad
              e = \max(b - a, 0.1),

    where halves are rounded away from zero. Bin i of k covers the cells from
    :math:`\lfloor a + i e / k \rfloor` up to, but without,
    :math:`\lceil a + (i + 1) e / k \rceil`, as far as they are on the map. The
    mean of no cell is 0, and so are the bins of an RoI that is not a number.

    An integral image gives the sum over a bin in four look-ups, so the cost
    hardly grows with the number of RoIs. Its sums are of float64, as
    differences of large sums in float32 would lose digits. They are products
    with triangular matrices, since ``cumsum`` has no deterministic form in
    CUDA. One bin at a time bounds the memory.

    Args:
        maps (Tensor): (N, D * k * k, H, W). Channel (d * k + i) * k + j is of
            the bin in row i and column j.
        rois (Tensor): (n, 5), image index and x1, y1, x2, y2 in input pixels.
        output_size (int): Bins along each side, k.
        spatial_scale (float): Cells per input pixel, s.

    Returns:
        Tensor: (n, D, k, k), in float32 at least.
    """
    height, width = maps.shape[2:]
    top, bottom = _bin_limits(
        rois[:, 2::2], height, output_size, spatial_scale
    )
    left, right = _bin_limits(rois[:, 1::2], width, output_size, spatial_scale)
    area = (bottom - top)[:, :, None] * (right - left)[:, None]
    y = torch.stack([bottom, top, bottom, top])[:, :, :, None]
    x = torch.stack([right, right, left, left])[:, :, None]
    image = rois[:, 0].long()[:, None, None]
    corners = (y * (width + 1) + x) * len(maps) + image  # (4, n, k, k)

    double = dict(dtype=torch.float64, device=maps.device)
    down = torch.ones(height + 1, height, **double).tril(-1)
    across = torch.ones(width + 1, width, **double).tril(-1)
    planes = maps.unflatten(1, (-1, output_size**2)).unbind(2)
    sums = [
        _bin_sums(plane, rows, down, across)
        for plane, rows in zip(planes, corners.flatten(2).unbind(2))
    ]
    means = torch.stack(sums, dim=2).unflatten(2, area.shape[1:])
    means = means / area.clamp(min=1)[:, None]
    return means if maps.dtype == torch.float64 else means.float()


def _bin_sums(
    plane: Tensor, corners: Tensor, down: Tensor, across: Tensor
) -> Tensor:
    """Sum the cells of one bin of each RoI, by an integral image.

    Args:
        plane (Tensor): Maps of the bin, (N, D, H, W).
        corners (Tensor): (4, n), the rows of the integral image, laid out as
            (H + 1) * (W + 1) * N, at the bins' corners: bottom right, top
            right, bottom left and top left.
        down (Tensor): (H + 1, H), whose row r sums the r first of H cells.
        across (Tensor): (W + 1, W), likewise.

    Returns:
        Tensor: (n, D), in float64.
    """
    plane = plane.double().permute(2, 3, 0, 1)  # (H, W, N, D)
    table = down @ plane.flatten(1)
    table = across @ table.view(len(down), plane.shape[1], -1)
    table = table.view(-1, plane.shape[3])
    sums = table.index_select(0, corners.flatten()).unflatten(0, corners.shape)
    bottom_right, top_right, bottom_left, top_left = sums.unbind(0)
    # In this order the sum over no cell is 0 without rounding.
    return (bottom_right - top_right) - (bottom_left - top_left)


def _bin_limits(
    limits: Tensor, size: int, output_size: int, spatial_scale: float
) -> Tuple[Tensor, Tensor]:
    """First cell of each bin along one axis, and the one after its last.

    Args:
        limits (Tensor): (n, 2), where RoIs begin and end, in input pixels.
        size (int): Cells of the map along the axis.
        output_size (int): Bins along it, k.
        spatial_scale (float): Cells per input pixel.

    Returns:
        tuple[Tensor]: Both (n, k), within [0, size].
    """
    limits = limits.double()
    limits = limits.trunc() + (2 * limits.frac()).trunc()
    begin, end = limits[:, :1] * spatial_scale, (limits[:, 1:] + 1)
    extent = (end * spatial_scale - begin).clamp(min=0.1)
    steps = torch.arange(output_size + 1, device=limits.device)
    edges = (begin + steps * extent / output_size).nan_to_num(nan=0.0)
    first, last = edges[:, :-1].floor(), edges[:, 1:].ceil()
    return first.clamp(0, size).long(), last.clamp(0, size).long()


class PSRoIPool(nn.Module):
    """See :func:`ps_roi_pool`.

    Args:
        output_size (int): Bins along each side of an RoI.
        spatial_scale (float): Cells of the map per input pixel.
    """

    def __init__(self, output_size: int, spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, maps: Tensor, rois: Tensor) -> Tensor:
        """See :func:`ps_roi_pool`."""
        return ps_roi_pool(maps, rois, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        """Both arguments, as torchvision's layers have."""
        return (
            f'output_size={self.output_size}, '
            f'spatial_scale={self.spatial_scale}'
        )
