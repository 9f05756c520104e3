"""The second stage of R-FCN."""

from typing import List, Tuple

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from .bbox_heads import RFCNBBoxHead
from .objectness_roi_head import ObjectnessMixin
from .roi_extractors import PSRoIExtractor


@MODELS.register_module()
class RFCNRoIHead(ObjectnessMixin, StandardRoIHead):
    """RoI head that convolves whole images and pools the results.

    Dai et al., "R-FCN: Object Detection via Region-based Fully Convolutional
    Networks", NeurIPS 2016. The shared head, the last stage of the backbone at
    the stride of the one before, and the score maps of :class:`RFCNBBoxHead`
    are computed once for each image, however many RoIs there are and also if
    OHEM scores them all first. Assigning, sampling, OHEM, losses and
    prediction are the parent's, which may be handed the features or the maps.
    A detector that calls several methods with features, as SoftTeacher does,
    has the maps computed in each call.

    It takes the arguments of :class:`StandardRoIHead`, but no mask head.

    Args:
        objectness_power (float): See :class:`ObjectnessMixin`. Defaults to 0.
        objectness_prior (bool): See there. Defaults to False.

    Raises:
        ValueError: If there is a mask head, or if the RoI extractor or the
            bbox head is of another kind or number of bins.
    """

    def init_bbox_head(
        self, bbox_roi_extractor: ConfigType, bbox_head: ConfigType
    ) -> None:
        """Refuse parts that do not pool and vote by position."""
        super().init_bbox_head(bbox_roi_extractor, bbox_head)
        for part, kind in (
            ('bbox_roi_extractor', PSRoIExtractor),
            ('bbox_head', RFCNBBoxHead),
        ):
            own = type(getattr(self, part))
            if not issubclass(own, kind):
                raise ValueError(
                    f'{part} must be a {kind.__name__}, which R-FCN pools and '
                    f'votes by, but got {own.__name__}'
                )
        (layer,) = self.bbox_roi_extractor.roi_layers
        bins = self.bbox_head.roi_feat_size[0]
        if layer.output_size != bins:
            raise ValueError(
                'bbox_roi_extractor.roi_layer.output_size must be '
                f'bbox_head.roi_feat_size, {bins}, but got '
                f'{layer.output_size!r}'
            )

    def init_mask_head(
        self, mask_roi_extractor: ConfigType, mask_head: ConfigType
    ) -> None:
        """Refuse a mask head, which has no score maps."""
        raise ValueError(
            'mask_head must be None, for R-FCN predicts boxes only, neither '
            f'masks nor panoptic segments, but got {mask_head!r}'
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

    def loss(
        self,
        x: Tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: List[DetDataSample],
    ) -> dict:
        """Compute the maps before OHEM, which scores all RoIs, asks for them.

        Args:
            x (tuple[Tensor]): One level of features, (N, C, H, W), or the
                maps of :meth:`score_maps`.
            rpn_results_list (list[InstanceData]): Proposals of each image.
            batch_data_samples (list[DetDataSample]): Images and objects.

        Returns:
            dict[str, Tensor]: Losses.
        """
        maps = self._maps(x)
        return super().loss(maps, rpn_results_list, batch_data_samples)

    def _bbox_forward(self, x: Tuple[Tensor], rois: Tensor) -> dict:
        """Pool and vote.

        Args:
            x (tuple[Tensor]): One level of features, (N, C, H, W), or the
                maps of :meth:`score_maps`.
            rois (Tensor): (n, 5), image index and x1, y1, x2, y2 in input
                pixels.

        Returns:
            dict[str, Tensor]: ``cls_score`` and ``bbox_pred``, see
            :meth:`RFCNBBoxHead.forward`.
        """
        bins = [self.bbox_roi_extractor((m,), rois) for m in self._maps(x)]
        cls_score, bbox_pred = self.bbox_head(bins)
        return self.weigh(dict(cls_score=cls_score, bbox_pred=bbox_pred), x)

    def _maps(self, x: Tuple[Tensor]) -> Tuple[Tensor, Tensor]:
        """Compute the maps, unless ``x`` already is them, by its channels."""
        head = self.bbox_head
        channels = [head.rfcn_cls.out_channels, head.rfcn_reg.out_channels]
        if [maps.shape[1] for maps in x] == channels:
            return x
        return self.score_maps(x)
