"""Position-sensitive pooling, which mmcv lacks."""

from typing import List, Tuple

import torch
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision import ops

from .ps_roi_pool import PSRoIPool

_LAYERS = dict(
    PSRoIPool=PSRoIPool,
    PSRoIAlign=ops.PSRoIAlign,
    TorchvisionPSRoIPool=ops.PSRoIPool,
)


@MODELS.register_module()
class PSRoIExtractor(BaseRoIExtractor):
    """Pool each bin of an RoI from the maps of its own.

    Dai et al., "R-FCN", NeurIPS 2016, equation 1. The bin of row i and column
    j reads the maps of that place alone, k * k of them a class.

    Args:
        roi_layer (dict): ``type``, one of the operators below;
            ``output_size``, the bins along each side; and further arguments
            of the operator.

            - 'PSRoIPool': mean of a bin's cells, rounded as by the authors of
              R-FCN, see :func:`ps_roi_pool`.
            - 'PSRoIAlign': torchvision's, the mean of bilinear samples,
              without rounding. It takes ``sampling_ratio``.
            - 'TorchvisionPSRoIPool': torchvision's, the mean of a bin's cells,
              where the RoI's corners are rounded to cells first. At stride 16
              that moves bins by 2 to 4 pixels.

        featmap_stride (int): Stride of the map, in input pixels.
        init_cfg (dict | list[dict], optional): Unused; there is no weight.

    Raises:
        ValueError: If there is no such operator.
    """

    def __init__(
        self,
        roi_layer: ConfigType,
        featmap_stride: int,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        # out_channels is left open: score maps and box maps differ in theirs.
        super().__init__(roi_layer, None, [featmap_stride], init_cfg)

    def build_roi_layers(
        self, layer_cfg: ConfigType, featmap_strides: List[int]
    ) -> nn.ModuleList:
        """Build the operator, which is none of mmcv's.

        Args:
            layer_cfg (dict): ``roi_layer``.
            featmap_strides (list[int]): Stride of the only map.

        Returns:
            nn.ModuleList: The operator.
        """
        cfg = dict(layer_cfg)
        name = cfg.pop('type')
        if name not in _LAYERS:
            raise ValueError(
                f'roi_layer.type must be one of {tuple(_LAYERS)}, but got '
                f'{name!r}'
            )
        return nn.ModuleList(
            _LAYERS[name](spatial_scale=1 / stride, **cfg)
            for stride in featmap_strides
        )

    def forward(self, feats: Tuple[Tensor], rois: Tensor) -> Tensor:
        """Pool RoIs, in float32 at least: bins are means of few cells.

        Args:
            feats (tuple[Tensor]): One batch of maps, (N, D * k * k, H, W).
            rois (Tensor): (n, 5), image index and x1, y1, x2, y2 in input
                pixels.

        Returns:
            Tensor: Bins, (n, D, k, k).
        """
        (maps,) = feats
        (layer,) = self.roi_layers
        if isinstance(layer, PSRoIPool):
            return layer(maps, rois)
        dtype = torch.promote_types(maps.dtype, torch.float32)
        maps = maps.to(dtype)
        if isinstance(layer, ops.PSRoIPool):
            # It never reads the last row and column, as the others do.
            maps = pad(maps, (0, 1, 0, 1))
        return layer(maps, rois.to(dtype))
