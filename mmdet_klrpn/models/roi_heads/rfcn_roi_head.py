"""The second stage of R-FCN."""

from typing import List, Tuple

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from .objectness_roi_head import ObjectnessMixin


@MODELS.register_module()
class RFCNRoIHead(ObjectnessMixin, StandardRoIHead):
    """RoI head that convolves whole images and pools the results.

    Dai et al., "R-FCN: Object Detection via Region-based Fully Convolutional
    Networks", NeurIPS 2016. The shared head, the last stage of the backbone at
    the stride of the one before, and the score maps of :class:`RFCNBBoxHead`
    are computed once for each image, however many RoIs there are and also if
    OHEM scores them all first. Assigning, sampling, OHEM, losses and
    prediction are the parent's, which from here on is handed the maps where
    it would have the features.

    It takes the arguments of :class:`StandardRoIHead`, but no mask head.

    Args:
        objectness_power (float): See :class:`ObjectnessMixin`. Defaults to 0.
        objectness_prior (bool): See there. Defaults to False.

    Raises:
        ValueError: If there is a mask head.
    """

    def init_mask_head(
        self, mask_roi_extractor: ConfigType, mask_head: ConfigType
    ) -> None:
        """Refuse a mask head, which has no score maps."""
        raise ValueError(
            'mask_head must be None, for R-FCN predicts boxes only, but got '
            f'{mask_head!r}'
        )

    def score_maps(self, x: Tuple[Tensor]) -> Tuple[Tensor, Tensor]:
        """Compute the maps of whole images.

        Args:
            x (tuple[Tensor]): One level of features, (N, C, H, W).

        Returns:
            tuple[Tensor]: See :meth:`RFCNBBoxHead.score_maps`.

        Raises:
            ValueError: If there is more than one level.
        """
        if len(x) != 1:
            raise ValueError(
                'RFCNRoIHead reads one level of features, but got '
                f'{len(x)}: leave one in backbone.out_indices'
            )
        features = x[0]
        if self.with_shared_head:
            features = self.shared_head(features)
        return self.bbox_head.score_maps(features)

    def forward(
        self,
        x: Tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList = None,
    ) -> tuple:
        """See the parent."""
        maps = self.score_maps(x)
        return super().forward(maps, rpn_results_list, batch_data_samples)

    def loss(
        self,
        x: Tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: List[DetDataSample],
    ) -> dict:
        """See the parent."""
        maps = self.score_maps(x)
        return super().loss(maps, rpn_results_list, batch_data_samples)

    def predict_bbox(self, x: Tuple[Tensor], *args, **kwargs) -> InstanceList:
        """See the parent."""
        return super().predict_bbox(self.score_maps(x), *args, **kwargs)

    def _bbox_forward(self, x: Tuple[Tensor, Tensor], rois: Tensor) -> dict:
        """Pool and vote: maps of whole images and (n, 5) RoIs to scores."""
        bins = [self.bbox_roi_extractor((maps,), rois) for maps in x]
        cls_score, bbox_pred = self.bbox_head(bins)
        return self.weigh(dict(cls_score=cls_score, bbox_pred=bbox_pred))
