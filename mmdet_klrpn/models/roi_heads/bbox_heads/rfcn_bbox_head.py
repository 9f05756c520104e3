"""Score maps of R-FCN over the image, and the vote of their bins."""

from typing import Tuple

from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from torch import Tensor, nn
from torch.nn.functional import relu

from .voting_bbox_head import VotingBBoxMixin


@MODELS.register_module()
class RFCNBBoxHead(VotingBBoxMixin, BBoxHead):
    r"""Position-sensitive score maps, and the mean over an RoI's bins.

    Dai et al., "R-FCN: Object Detection via Region-based Fully Convolutional
    Networks", NeurIPS 2016, section 2. With k = ``roi_feat_size`` and C
    classes, a 1x1 convolution reduces the features, a second makes
    :math:`k^2 (C + 1)` score maps and a third :math:`4 k^2` box maps, or
    :math:`4 k^2 C` if regression is class-specific. Everything with weights is
    done once per image: all that is left for an RoI is to pool and to vote.

    Maps are laid out as torchvision's position-sensitive operators read them:
    the k * k maps of the first class, row by row, then those of the next.

    Args:
        in_channels (int): Channels of the features. Defaults to 2048.
        conv_out_channels (int): Channels they are reduced to. Defaults to
            1024.
        roi_feat_size (int): Bins along each side of an RoI, k. Defaults to 7.
        reg_class_agnostic (bool): Whether all classes share the box maps.
            Defaults to True, as in the paper.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to
            Kaiming for the first convolution, whatever its width, and normal
            weights of std 0.01 and 0.001 for score and box maps.
        **kwargs: Further arguments of :class:`BBoxHead`.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        conv_out_channels: int = 1024,
        roi_feat_size: int = 7,
        reg_class_agnostic: bool = True,
        init_cfg: OptMultiConfig = None,
        **kwargs,
    ) -> None:
        init_cfg = init_cfg or [
            dict(type='Kaiming', override=dict(name='rfcn_conv')),
            dict(type='Normal', std=0.01, override=dict(name='rfcn_cls')),
            dict(type='Normal', std=0.001, override=dict(name='rfcn_reg')),
        ]
        super().__init__(
            with_avg_pool=True,
            in_channels=in_channels,
            roi_feat_size=roi_feat_size,
            reg_class_agnostic=reg_class_agnostic,
            init_cfg=init_cfg,
            **kwargs,
        )
        # The parent's predictors read an RoI; these read a whole map.
        num_scores = self.fc_cls.out_features
        num_offsets = self.fc_reg.out_features
        del self.fc_cls, self.fc_reg
        bins = self.roi_feat_area
        self.rfcn_conv = nn.Conv2d(in_channels, conv_out_channels, 1)
        self.rfcn_cls = nn.Conv2d(conv_out_channels, num_scores * bins, 1)
        self.rfcn_reg = nn.Conv2d(conv_out_channels, num_offsets * bins, 1)

    def score_maps(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Compute the maps of a batch of images.

        Args:
            x (Tensor): Features, (N, in_channels, H, W).

        Returns:
            tuple:

            - score_maps (Tensor): (N, (num_classes + 1) * k * k, H, W).
            - box_maps (Tensor): (N, 4 * k * k, H, W), or num_classes times as
              many channels if regression is class-specific.
        """
        x = relu(self.rfcn_conv(x))
        return self.rfcn_cls(x), self.rfcn_reg(x)

    def forward(self, x: Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tensor]:
        """Vote: the mean over the bins of each RoI.

        Args:
            x (tuple[Tensor]): Bins pooled from the score maps, (n,
                num_classes + 1, k, k), and from the box maps.

        Returns:
            tuple:

            - cls_score (Tensor): (n, num_classes + 1), the background last.
            - bbox_pred (Tensor): Encoded offsets, (n, 4), or (n, num_classes *
              4) if class-specific.
        """
        cls_bins, reg_bins = x
        return cls_bins.mean(dim=(2, 3)), reg_bins.mean(dim=(2, 3))
