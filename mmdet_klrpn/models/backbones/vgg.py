"""VGG's convolutions up to conv5_3, as Faster R-CNN uses them."""

from typing import Sequence, Tuple

from mmcv.cnn import VGG as MMCV_VGG
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor


@MODELS.register_module()
class VGG(MMCV_VGG, BaseModule):
    """VGG backbone for detection, in torchvision's layout.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition", ICLR 2015. By default it ends at conv5_3, at stride
    16, without the last pooling. Parameters are named ``features.N`` as in
    torchvision, whose checkpoints load as they are.

    Args:
        depth (int): 11, 13, 16 or 19. Defaults to 16.
        with_bn (bool): Whether each convolution has a batch normalisation.
            Defaults to False.
        out_indices (Sequence[int]): Stages whose output is returned, 0 to 4.
            Defaults to (4, ), conv5_3.
        frozen_stages (int): Number of first stages that are frozen. Defaults
            to 2, as in Faster R-CNN: conv1 and conv2.
        bn_eval (bool): Whether running statistics are frozen. Defaults to
            True.
        bn_frozen (bool): Whether affine parameters of the normalisations are
            frozen too. Defaults to True.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to
            random weights.

    Raises:
        KeyError: If there is no VGG of that depth.
    """

    def __init__(
        self,
        depth: int = 16,
        with_bn: bool = False,
        out_indices: Sequence[int] = (4,),
        frozen_stages: int = 2,
        bn_eval: bool = True,
        bn_frozen: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            depth,
            with_bn=with_bn,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            bn_eval=bn_eval,
            bn_frozen=bn_frozen,
            with_last_pool=False,
        )
        self.init_cfg = init_cfg or [
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='BatchNorm2d'),
        ]
        # mmcv freezes only in train(), after DDP has counted parameters.
        self.train()

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``, not by mmcv's own method."""
        BaseModule.init_weights(self)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the features of the chosen stages.

        Args:
            x (Tensor): Images, (N, 3, H, W).

        Returns:
            tuple[Tensor]: (N, C, H / s, W / s), rounded down. A stage from 0
            to 3 ends in a pooling, at a stride s of 2, 4, 8 and 16; stage 4
            has none and stays at 16.
        """
        outs = super().forward(x)
        return outs if isinstance(outs, tuple) else (outs,)

    def train(self, mode: bool = True) -> 'VGG':
        """Set the mode, keep frozen layers, and return self, unlike mmcv's."""
        super().train(mode)
        return self
