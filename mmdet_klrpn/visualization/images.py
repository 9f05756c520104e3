"""Images as detectors see them."""

import mmcv
import numpy as np
from mmdet.structures import DetDataSample
from torch import Tensor


def seen_image(inputs: Tensor, sample: DetDataSample) -> np.ndarray:
    """The image that a detector sees, in the frame of its boxes.

    It is made from the network's input, so its source, orientation and
    channels are those of the pipeline.

    Args:
        inputs (Tensor): (C, H, W), ``inputs`` of an item of a data set, in
            BGR as mmdet loads it. If not in uint8, its values are spread
            from 0 to 255; with one or two channels, the first is grey.
        sample (DetDataSample): ``data_samples`` of the item.

    Returns:
        np.ndarray: (h, w, 3), RGB, uint8, of the size of the original image.
    """
    height, width = sample.ori_shape[:2]
    across, down = sample.get('scale_factor', (1, 1))[:2]
    image = inputs.cpu().permute(1, 2, 0).numpy()
    # The pipeline may have padded it at the right and at the bottom.
    image = image[
        : max(round(height * down), 1), : max(round(width * across), 1)
    ]
    image = image[..., :3] if image.shape[2] >= 3 else image[..., [0, 0, 0]]
    if image.dtype != np.uint8:
        image = _to_uint8(image.astype(np.float32))
    return mmcv.imresize(image, (width, height))[..., ::-1]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    """Spread the finite values of an image from 0 to 255."""
    finite = image[np.isfinite(image)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    image = np.nan_to_num(image, nan=low, posinf=high, neginf=low)
    return (255 * (image - low) / max(high - low, 1e-6)).astype(np.uint8)
