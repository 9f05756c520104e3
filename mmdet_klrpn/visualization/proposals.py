"""Pictures of proposals with their uncertainty."""

import math
from typing import List, Optional, Tuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import interpolate

from mmdet_klrpn.apis.first_stage import Extent

COLORMAP = 'plasma'


def draw_boxes(ax: Axes, image: np.ndarray, boxes: np.ndarray) -> None:
    """Draw an image with boxes of one colour, such as ground truth.

    Args:
        ax (Axes): Where to draw.
        image (np.ndarray): (H, W, 3), RGB, uint8.
        boxes (np.ndarray): (n, 4) x1, y1, x2, y2 in pixels of the image.
    """
    _draw_image(ax, image)
    for box in np.asarray(boxes, dtype=float):
        ax.add_patch(_rectangle(box, edgecolor='yellow', linewidth=1.2))


def draw_proposals(
    ax: Axes, image: np.ndarray, proposals: InstanceData, top: int = 30
) -> None:
    """Draw an image and its best proposals, coloured by rank.

    If the proposals have ``bbox_stds``, a band of one standard deviation lies
    to either side of each edge.

    Args:
        ax (Axes): Where to draw.
        image (np.ndarray): (H, W, 3), RGB, uint8.
        proposals (InstanceData): ``bboxes`` (n, 4) in pixels of the image, by
            descending ``scores`` (n, ), and perhaps ``bbox_stds`` (n, 4).
        top (int): How many to draw. Defaults to 30.
    """
    _draw_image(ax, image)
    proposals = proposals[:top]
    colours = colormaps[COLORMAP](np.linspace(0.95, 0.25, max(top, 1)))
    boxes = proposals.bboxes.detach().cpu().numpy()
    stds: Optional[np.ndarray] = None
    if 'bbox_stds' in proposals:
        stds = proposals.bbox_stds.detach().cpu().numpy()
    # The best last, on top of the others; bands below all boxes.
    order = range(len(boxes))[::-1]
    for i in order if stds is not None else ():
        band = std_band(boxes[i], stds[i])
        ax.add_patch(PathPatch(band, color=colours[i], alpha=0.15, lw=0))
    for i in order:
        ax.add_patch(_rectangle(boxes[i], edgecolor=colours[i], linewidth=1.2))


def std_band(box: np.ndarray, stds: np.ndarray) -> Path:
    """The ring between a box shrunk and grown by one standard deviation.

    Args:
        box (np.ndarray): (4, ) x1, y1, x2, y2 in pixels.
        stds (np.ndarray): (4, ), std of each in pixels.

    Returns:
        Path: The ring. A box smaller than its stds shrinks to its centre.
    """
    outer = box + stds * [-1, -1, 1, 1]
    inner = box - stds * [-1, -1, 1, 1]
    centre = (box[:2] + box[2:]) / 2
    inner = np.concatenate(
        [np.minimum(inner[:2], centre), np.maximum(inner[2:], centre)]
    )
    # Opposite directions of travel make the inner rectangle a hole.
    vertices = [*_corners(outer), *_corners(inner)[::-1]]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * 2
    return Path(vertices, codes)


def std_map(log_vars: List[Tensor], num_stds: int) -> Tensor:
    """Smallest standard deviation of any anchor at each place.

    Args:
        log_vars (list[Tensor]): Log-variances per level, (1, A * S, H, W), of
            encoded offsets, as ``KLRPNHead.log_variances`` gives them.
        num_stds (int): S, standard deviations per anchor.

    Returns:
        Tensor: (H, W) of the finest level, in encoded offsets: the root of the
        smallest mean variance of any anchor over all levels.
    """
    size = log_vars[0].shape[-2:]
    levels = []
    for log_var in log_vars:
        variance = log_var.exp().unflatten(1, (-1, num_stds)).mean(dim=2)
        least = variance.amin(dim=1, keepdim=True)
        levels.append(interpolate(least, size=size, mode='nearest'))
    return torch.cat(levels).amin(dim=(0, 1)).sqrt()


def draw_std_map(
    ax: Axes,
    image: np.ndarray,
    stds: Tensor,
    extent: Optional[Extent] = None,
) -> AxesImage:
    """Draw a map of standard deviations over its whole image.

    If the map ends before the image, its outermost cells are repeated.

    Args:
        ax (Axes): Where to draw.
        image (np.ndarray): (H, W, 3), RGB, uint8.
        stds (Tensor): (h, w).
        extent (tuple[float, float, float, float], optional): Left, right,
            bottom and top of the map in pixels of the image. Defaults to the
            image's own.

    Returns:
        AxesImage: The heat map, for a colour bar.
    """
    height, width = image.shape[:2]
    _draw_image(ax, image)
    cells, extent = _continue_to(
        image, stds.detach().cpu().numpy(), extent or (0, width, height, 0)
    )
    heat = ax.imshow(
        cells,
        cmap=f'{COLORMAP}_r',
        alpha=0.75,
        extent=extent,
        interpolation='nearest',
    )
    # A map may extend beyond the image, as the padded input does.
    ax.set(xlim=(0, width), ylim=(height, 0))
    return heat


def _continue_to(
    image: np.ndarray, cells: np.ndarray, extent: Extent
) -> Tuple[np.ndarray, Extent]:
    """Repeat the outermost cells of a map up to the border of its image."""
    left, right, bottom, top = extent
    high, wide = (bottom - top) / len(cells), (right - left) / cells.shape[1]
    up, down, before, behind = (
        max(math.ceil(missing - 1e-6), 0)
        for missing in (
            *(top / high, (image.shape[0] - bottom) / high),
            *(left / wide, (image.shape[1] - right) / wide),
        )
    )
    cells = np.pad(cells, ((up, down), (before, behind)), mode='edge')
    left, right = left - before * wide, right + behind * wide
    return cells, (left, right, bottom + down * high, top - up * high)


def _draw_image(ax: Axes, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0))
    ax.set_axis_off()


def _rectangle(box: np.ndarray, **style) -> Rectangle:
    return Rectangle(box[:2], *(box[2:] - box[:2]), fill=False, **style)


def _corners(box: np.ndarray) -> list:
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
