"""Photographs composed of others, with the boxes of what is seen in them."""

from pathlib import Path
from typing import List, Optional

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter

MIN_VISIBLE = 0.35  # of an object's area
OPAQUE = 128  # alpha from which a pixel is the object's
TRIES = 30  # to place an object


def read_cut_out(path: Path) -> Image.Image:
    """Read a picture with an alpha channel, cropped to its opaque part.

    Raises:
        ValueError: If the picture is opaque, or transparent, everywhere.
    """
    image = Image.open(path).convert('RGBA')
    opaque = image.getchannel('A').point(lambda a: 255 * (a >= OPAQUE))
    if opaque.getextrema() != (0, 255):
        raise ValueError(f'{path} is not cut out: its alpha has one value')
    return image.crop(opaque.getbbox())


def vary_cut_out(
    cut_out: Image.Image, size: float, turn: float, rng: Generator
) -> Image.Image:
    """Scale a cut-out, and mirror, turn and light it at random.

    Args:
        cut_out (Image.Image): RGBA.
        size (float): Of its longer side, in pixels.
        turn (float): Largest angle, either way, in degrees.
        rng (Generator): Source of the choices.

    Returns:
        Image.Image: RGBA with a soft edge, and a margin for it.
    """
    if rng.random() < 0.5:
        cut_out = cut_out.transpose(Image.FLIP_LEFT_RIGHT)
    # Turned at not much above the final size, for speed.
    cut_out = cut_out.copy()
    cut_out.thumbnail((3 * size, 3 * size), Image.BOX)
    cut_out = cut_out.rotate(
        rng.uniform(-turn, turn), Image.BICUBIC, expand=True
    )
    cut_out = cut_out.crop(cut_out.getchannel('A').getbbox())
    scale = size / max(cut_out.size)
    shape = [max(round(scale * side), 1) for side in cut_out.size]
    padded = Image.new('RGBA', (shape[0] + 4, shape[1] + 4))
    padded.paste(cut_out.resize(shape, Image.LANCZOS), (2, 2))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Color):
        padded = enhance(padded).enhance(rng.uniform(0.75, 1.2))
    # Premultiplied, the edge does not darken by what is transparent beside it.
    soft = ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7))
    return padded.convert('RGBa').filter(soft).convert('RGBA')


def random_square(
    photo: Image.Image, size: int, rng: Generator
) -> Image.Image:
    """A random square of a photograph, mirrored or not.

    It is cut at `size` pixels a side or larger, and scaled to `size`.
    """
    largest = min(photo.size)
    side = int(rng.uniform(min(size, largest), largest + 1))
    x, y = (int(rng.integers(length - side + 1)) for length in photo.size)
    crop = photo.crop((x, y, x + side, y + side))
    if rng.random() < 0.5:
        crop = crop.transpose(Image.FLIP_LEFT_RIGHT)
    return crop.resize((size, size), Image.LANCZOS)


class Scene:
    """An image, and what can be seen of each object in it."""

    def __init__(self, background: Image.Image) -> None:
        self.image = background.copy()
        self.labels: List[int] = []
        self.masks: List[np.ndarray] = []  # (H, W), of what can be seen
        self.areas: List[int] = []  # in pixels, of the objects, if whole

    def paste(
        self, cut_out: Image.Image, x: int, y: int, label: Optional[int]
    ) -> bool:
        """Paste a cut-out, unless it hides too much.

        Args:
            cut_out (Image.Image): RGBA.
            x (int): Left edge, which may be outside of the image.
            y (int): Upper edge.
            label (int, optional): Index of the class, None for a distractor.

        Returns:
            bool: Whether it was. It is not where it, or an object below it,
            would be seen by less than `MIN_VISIBLE` of its area.
        """
        alpha = Image.new('L', self.image.size)
        alpha.paste(cut_out.getchannel('A'), (x, y))
        mask = np.asarray(alpha) >= OPAQUE
        area = int((np.asarray(cut_out.getchannel('A')) >= OPAQUE).sum())
        masks = [below & ~mask for below in self.masks]
        if label is not None:
            masks.append(mask)
        areas = [*self.areas, area]
        if not area or any(
            seen.sum() < MIN_VISIBLE * whole
            for seen, whole in zip(masks, areas)
        ):
            return False
        self.image.paste(cut_out, (x, y), cut_out)
        self.masks = masks
        if label is not None:
            self.labels.append(label)
            self.areas.append(area)
        return True

    def place(
        self, cut_out: Image.Image, label: Optional[int], rng: Generator
    ) -> bool:
        """Paste a cut-out somewhere, with its centre in the image."""
        for _ in range(TRIES):
            x, y = (
                int(rng.integers(whole)) - part // 2
                for whole, part in zip(self.image.size, cut_out.size)
            )
            if self.paste(cut_out, x, y, label):
                return True
        return False

    def objects(self) -> List[dict]:
        """The `category_id`, `bbox` and `area` of what can be seen."""
        objects = []
        for label, mask in zip(self.labels, self.masks):
            columns = np.flatnonzero(mask.any(axis=0))
            rows = np.flatnonzero(mask.any(axis=1))
            x, y = int(columns[0]), int(rows[0])
            box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
            area = int(mask.sum())
            objects.append(dict(category_id=label + 1, bbox=box, area=area))
        return objects

    def expose(self, rng: Generator) -> None:
        """Give all of the image one light and lens: edges are no cue."""
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast):
            self.image = enhance(self.image).enhance(rng.uniform(0.75, 1.2))
        blur = ImageFilter.GaussianBlur(rng.uniform(0, 0.7))
        self.image = self.image.filter(blur)
