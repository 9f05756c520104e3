"""The fully connected layers of VGG as a box head."""

from typing import Tuple

from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import Sequential
from torch import Tensor, nn

from .voting_bbox_head import VotingBBoxMixin


@MODELS.register_module()
class VGGBBoxHead(VotingBBoxMixin, BBoxHead):
    """fc6 and fc7 of VGG, then the two predictors of Faster R-CNN.

    Ren et al., "Faster R-CNN", NeurIPS 2015. The layers are torchvision's
    ``classifier`` without the last, dropout included, so that its checkpoint
    initialises them.

    Args:
        in_channels (int): Channels of the RoI features. Defaults to 512.
        roi_feat_size (int): Their width and height. Defaults to 7.
        fc_out_channels (int): Width of both layers. Defaults to 4096.
        dropout (float): Probability that a unit is dropped in training.
            Defaults to 0.5.
        init_cfg (dict | list[dict], optional): Initialisation of the two
            layers, such as ``dict(type='Pretrained',
            checkpoint='torchvision://vgg16', prefix='classifier')``.
            Defaults to Xavier.
        **kwargs: Further arguments of :class:`BBoxHead`.
    """

    def __init__(
        self,
        in_channels: int = 512,
        roi_feat_size: int = 7,
        fc_out_channels: int = 4096,
        dropout: float = 0.5,
        init_cfg: OptMultiConfig = None,
        **kwargs,
    ) -> None:
        # What the parent's predictors read is one cell of fc7.
        super().__init__(
            in_channels=fc_out_channels, roi_feat_size=1, **kwargs
        )
        self.classifier = Sequential(
            nn.Linear(in_channels * roi_feat_size**2, fc_out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(fc_out_channels, fc_out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            init_cfg=init_cfg
            or dict(type='Xavier', distribution='uniform', layer='Linear'),
        )

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Classify and refine RoIs.

        Args:
            x (Tensor): RoI features, (n, C, roi_feat_size, roi_feat_size).

        Returns:
            tuple:

            - cls_score (Tensor): (n, num_classes + 1), the background last.
            - bbox_pred (Tensor): Encoded offsets, (n, num_classes * 4), or
              (n, 4) if class-agnostic.
        """
        return super().forward(self.classifier(x.flatten(1)))
