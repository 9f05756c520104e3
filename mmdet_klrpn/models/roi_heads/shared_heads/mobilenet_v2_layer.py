"""The last two stages of MobileNetV2, at the stride of those before."""

from mmdet.models.backbones import MobileNetV2
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@MODELS.register_module()
class MobileNetV2Layer(BaseModule):
    """What mmdet's ResLayer is to ResNet, with dilation instead of stride.

    Its layers bear the names they have in the backbone, ``layer6`` and
    ``layer7``, so that a checkpoint of MobileNetV2 initialises them. Batch
    normalisations keep their running statistics.

    Args:
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to
            random weights.
    """

    def __init__(self, init_cfg: OptMultiConfig = None) -> None:
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer='_BatchNorm'),
            ]
        )
        backbone = MobileNetV2()
        self.layer6 = backbone.layer6
        self.layer7 = backbone.layer7
        for conv in self.modules():
            if not isinstance(conv, nn.Conv2d) or conv.kernel_size == (1, 1):
                continue
            if conv.stride == (2, 2):
                conv.stride = (1, 1)
            else:  # behind it, the map is twice as fine as in training
                conv.dilation = conv.padding = (2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 96, H, W) of the fifth stage to (N, 320, H, W)."""
        return self.layer7(self.layer6(x))

    def train(self, mode: bool = True) -> 'MobileNetV2Layer':
        """Set the mode, but for the normalisations."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self
