"""mmdet's pictures of detections, with bands of one standard deviation."""

from typing import List, Optional

import numpy as np
from matplotlib.patches import PathPatch
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import InstanceData

from .proposals import std_band


@VISUALIZERS.register_module()
class StdDetLocalVisualizer(DetLocalVisualizer):
    """DetLocalVisualizer that shows how sure a detection is of its edges.

    Below each box that has ``bbox_stds`` lies a band of its colour, one
    standard deviation to either side of each edge. It takes the arguments of
    DetLocalVisualizer.
    """

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Optional[List[str]],
        palette: Optional[List[tuple]],
    ) -> np.ndarray:
        """Draw the bands, then what the parent draws.

        Args:
            image (np.ndarray): (H, W, 3), RGB, uint8.
            instances (InstanceData): Ground truth or predictions.
            classes (list[str], optional): Names of the classes.
            palette (list[tuple], optional): Their colours.

        Returns:
            np.ndarray: (H, W, 3), RGB, uint8.
        """
        if len(instances) and 'bbox_stds' in instances:
            labels = instances.labels.tolist()
            given = palette if self.bbox_color is None else self.bbox_color
            colours = np.array(get_palette(given, max(labels) + 1)) / 255
            self.set_image(image)
            for box, stds, label in zip(
                instances.bboxes.numpy(), instances.bbox_stds.numpy(), labels
            ):
                band = std_band(box, stds)
                self.ax_save.add_patch(
                    PathPatch(band, color=colours[label], alpha=0.35, lw=0)
                )
            image = self.get_image()
        return super()._draw_instances(image, instances, classes, palette)
