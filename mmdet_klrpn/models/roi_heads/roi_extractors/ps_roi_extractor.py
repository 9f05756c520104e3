"""Position-sensitive pooling by torchvision, for mmcv has none."""

from typing import List, Tuple

import torch
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision import ops

_LAYERS = dict(PSRoIPool=ops.PSRoIPool, PSRoIAlign=ops.PSRoIAlign)


@MODELS.register_module()
class PSRoIExtractor(BaseRoIExtractor):
    """Pool each bin of an RoI from the maps of its own.

    Dai et al., "R-FCN", NeurIPS 2016, equation 1. The bin of row i and column
    j reads the maps of that place alone, k * k of them a class.

    Args:
        roi_layer (dict): ``type`` 'PSRoIPool', as in the paper, which rounds
            to cells of the map and takes the mean of a bin's cells, or
            'PSRoIAlign', which does not round and takes that of bilinear
            samples; ``output_size``, the bins along each side; and further
            arguments of torchvision's operator.
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
        """Build the operator, one of torchvision and not of mmcv.

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
        dtype = torch.promote_types(maps.dtype, torch.float32)
        maps = maps.to(dtype)
        if isinstance(self.roi_layers[0], ops.PSRoIPool):
            # It never reads the last row and column, where the paper's does.
            maps = pad(maps, (0, 1, 0, 1))
        return self.roi_layers[0](maps, rois.to(dtype))
