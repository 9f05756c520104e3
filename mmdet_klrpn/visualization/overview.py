"""Draw the proposals of first stages and their uncertainty in a picture."""

from typing import List, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.structures import InstanceData

from mmdet_klrpn.apis import FirstStage

from .proposals import draw_boxes, draw_proposals, draw_std_map, std_map

# In inches.
WIDTH = 10.7  # of the figure
TITLE = 0.5  # height of the two lines above each row
GAP = 0.1  # between the pictures of a row
BAR = 0.75  # width of a colour bar with its labels
WIDEST = (WIDTH - GAP) / 2  # picture
TALLEST = 2 * WIDEST  # picture
NARROWEST = 1.5  # picture, of the width of a map's title
SHORTEST = 0.5  # picture
LOWEST = 1.4  # row, that a colour bar can be labelled


def draw_overview(
    image: np.ndarray,
    stages: Sequence[Tuple[str, FirstStage]],
    top: int = 30,
    truth: Optional[np.ndarray] = None,
) -> Figure:
    """Draw the best proposals of each model, and its stds per level.

    The first row has the ground truth, if given, and the proposals of each
    model. For each model with KL-RPN a row follows with a map per level: the
    smallest std of any anchor at each place, in encoded offsets. All maps have
    one colour scale, from the head's ``min_std`` to its ``neg_std``. An
    extremely long image is distorted to stay visible.

    Args:
        image (np.ndarray): (H, W, 3), RGB, uint8: the original image.
        stages (Sequence[tuple[str, FirstStage]]): Each model's name, and its
            output for the image.
        top (int): How many proposals to draw. Defaults to 30.
        truth (np.ndarray, optional): (n, 4), ground truth in pixels.

    Returns:
        Figure: To be saved or rendered.
    """
    maps = [(name, stage) for name, stage in stages if stage.log_vars]
    rows = [(len(stages) + (truth is not None), WIDTH)]
    rows += [(len(stage.log_vars), WIDTH - BAR) for _, stage in maps]
    tall = image.shape[0] / image.shape[1]
    slots = [min((space + GAP) / count - GAP, WIDEST) for count, space in rows]
    sizes = [_fit(tall, slot) for slot in slots]
    heights = [TITLE + max(size[1], LOWEST) for size in sizes]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    axes, top_edge = [], 0.0
    for (count, space), slot, size, height in zip(rows, slots, sizes, heights):
        left = (space - count * (slot + GAP) + GAP + slot - size[0]) / 2
        lefts = [left + i * (slot + GAP) for i in range(count)]
        axes.append(_row(figure, lefts, top_edge + TITLE, size))
        top_edge += height

    first = axes.pop(0)
    if truth is not None:
        ax = first.pop(0)
        draw_boxes(ax, image, truth)
        _finish(ax, f'ground truth\n{len(truth)} objects')
    for ax, (name, stage) in zip(first, stages):
        draw_proposals(ax, image, stage.proposals, top)
        _finish(ax, f'{name}\n{_describe(stage.proposals, top)}')
    for row, (name, stage) in zip(axes, maps):
        _draw_maps(row, image, stage)
        if len(maps) > 1:  # above the first map, and beyond it if it is long
            row[0].set_title(f'{name}\n', loc='left', fontsize='medium', pad=4)
    return figure


def render(figure: Figure, dpi: int = 80) -> np.ndarray:
    """Render a figure as an image.

    Args:
        figure (Figure): What to render.
        dpi (int): Pixels per inch. Defaults to 80.

    Returns:
        np.ndarray: (H, W, 3), RGB, uint8.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _fit(tall: float, slot: float) -> Tuple[float, float]:
    """Width and height of a picture that fits the width of a slot.

    Args:
        tall (float): Height over width of the image.
        slot (float): Width of the slot.
    """
    width = min(max(TALLEST / tall, NARROWEST), slot)
    return width, min(max(width * tall, SHORTEST), TALLEST)


def _row(
    figure: Figure,
    lefts: Sequence[float],
    top_edge: float,
    size: Tuple[float, float],
) -> List[Axes]:
    """Add axes side by side, at distances from the figure's left."""
    width, height = figure.get_size_inches()
    bottom = 1 - (top_edge + size[1]) / height
    box = (size[0] / width, size[1] / height)
    return [figure.add_axes((left / width, bottom, *box)) for left in lefts]


def _finish(ax: Axes, text: str) -> None:
    """Add a title, and let the picture fill its place."""
    ax.set_aspect('auto')
    ax.set_title(text, fontsize='medium', pad=4)


def _describe(proposals: InstanceData, top: int) -> str:
    number = min(top, len(proposals))
    band = ', ± one std' if 'bbox_stds' in proposals else ''
    return f'{number} best proposals, yellow first{band}'


def _draw_maps(row: List[Axes], image: np.ndarray, stage: FirstStage) -> None:
    """Fill a row with the maps of one model's levels and a colour bar."""
    head = stage.head
    strides = head.prior_generator.strides
    for ax, log_var, extent, stride in zip(
        row, stage.log_vars, stage.extents(), strides
    ):
        stds = std_map([log_var], head.num_stds)
        heat = draw_std_map(ax, image, stds, extent)
        heat.set_clim(head.min_std, head.neg_std)
        _finish(ax, f'stride {stride[0]}, least {stds.min():.2f}')
    figure, box = row[-1].figure, row[-1].get_position()
    width, height = figure.get_size_inches()
    tall = max(box.height, LOWEST / height)
    bar = figure.add_axes(
        (box.x1 + GAP / width, box.y1 - tall, 0.15 / width, tall)
    )
    figure.colorbar(heat, cax=bar, extend='max')
    bar.tick_params(labelsize='small', pad=2)
    bar.set_ylabel('std, encoded offsets', fontsize='small', labelpad=1)
