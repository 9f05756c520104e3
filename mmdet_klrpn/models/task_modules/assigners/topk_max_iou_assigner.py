"""MaxIoUAssigner that gives every object several positives."""

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class TopKMaxIoUAssigner(MaxIoUAssigner):
    """MaxIoUAssigner, for which each object's best priors are positives too.

    Thresholds of IoU give a large object dozens of positives and a small one,
    between anchors that are all larger or a stride apart, a single one. Here
    the ``topk`` priors of the highest IoU with an object are positives
    whatever the thresholds say, and those that tie with the last of them. A
    prior goes to the object that it has the highest IoU with, unless the
    parent has assigned it already. As ATSS (Zhang et al., CVPR 2020) does,
    but by rank alone.

    Args:
        topk (int): How many of an object's priors are positives at least.
        topk_min_iou (float): IoU that they must have. Defaults to 0.1.
        **kwargs: Further arguments of :class:`MaxIoUAssigner`.

    Raises:
        ValueError: If ``topk`` is no positive integer, or ``topk_min_iou`` not
            in (0, 1].
    """

    def __init__(
        self, *args, topk: int, topk_min_iou: float = 0.1, **kwargs
    ) -> None:
        if not isinstance(topk, int) or topk < 1:
            raise ValueError(
                f'topk must be an integer >= 1, but got {topk!r}: for none '
                'use MaxIoUAssigner'
            )
        if not 0 < topk_min_iou <= 1:
            raise ValueError(
                f'topk_min_iou must be in (0, 1], but got {topk_min_iou!r}'
            )
        super().__init__(*args, **kwargs)
        self.topk = topk
        self.topk_min_iou = topk_min_iou

    def assign_wrt_overlaps(
        self, overlaps: Tensor, gt_labels: Tensor
    ) -> AssignResult:
        """Assign as the parent does, then the best priors of each object.

        Args:
            overlaps (Tensor): (k, n) IoUs of k objects and n priors.
            gt_labels (Tensor): (k, ).
        """
        result = super().assign_wrt_overlaps(overlaps, gt_labels)
        if overlaps.numel() == 0:
            return result
        least = self.least_of_best(overlaps)
        best, objects = overlaps.max(dim=0)
        is_new = (result.gt_inds <= 0) & (best >= least[objects])
        result.gt_inds = torch.where(is_new, objects + 1, result.gt_inds)
        result.labels = torch.where(is_new, gt_labels[objects], result.labels)
        return result

    def least_of_best(self, overlaps: Tensor) -> Tensor:
        """The IoU (k, ) that makes a prior one of each object's best.

        Args:
            overlaps (Tensor): (k, n) IoUs of k objects and n > 0 priors.
        """
        count = min(self.topk, overlaps.shape[1])
        least = overlaps.topk(count, dim=1).values[:, -1]
        return least.clamp(min=self.topk_min_iou)
