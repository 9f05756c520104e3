"""An image on its way through the two stages of a detector."""

from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional, Tuple

from mmdet.structures import SampleList
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_klrpn.evaluation.split_items import Item

from .oracles import Refined


class Image(NamedTuple):
    """An image on its way through a detector.

    Attributes:
        features (tuple[Tensor]): Of the backbone and neck.
        samples (list[DetDataSample]): One, with its meta information.
        scale (Tensor): (4, ) pixels of the input over those of the image.
    """

    features: Tuple[Tensor, ...]
    samples: SampleList
    scale: Tensor

    @property
    def id(self) -> int:
        """Its id in the annotations."""
        return self.samples[0].img_id


def see(model: nn.Module, item: Item) -> Image:
    """Load an image and extract its features."""
    dataset, index = item
    batch = pseudo_collate([dataset[index]])
    data = model.data_preprocessor(batch)
    features = model.extract_feat(data['inputs'])
    (sample,) = samples = data['data_samples']
    scale = features[0].new_tensor(sample.scale_factor).repeat(2)
    return Image(features, samples, scale)


def refine(
    model: nn.Module,
    image: Image,
    proposals: Tensor,
    scores: Optional[Tensor] = None,
    power: Optional[float] = None,
) -> Refined:
    """Take proposals through the bbox head, up to the score threshold.

    Args:
        model (nn.Module): With a ``roi_head``.
        image (Image): The image.
        proposals (Tensor): (n, 4) in pixels of the input.
        scores (Tensor, optional): (n, ), for a head that has a use for them.
        power (float, optional): In place of the head's own
            ``objectness_power``.
    """
    head = model.roi_head
    given = InstanceData(bboxes=proposals)
    if scores is not None:
        given.scores = scores
    with _powered(head, power):
        (raw,) = head.predict_bbox(
            image.features,
            [sample.metainfo for sample in image.samples],
            [given],
            rcnn_test_cfg=None,
            rescale=True,
        )
    number, classes = len(proposals), head.bbox_head.num_classes
    bboxes = raw.bboxes.reshape(number, raw.bboxes.shape[1] // 4, 4)
    return Refined(
        proposals / image.scale,
        # One box for all classes, where regression does not know them.
        bboxes.expand(number, classes, 4),
        raw.scores,
    )


@contextmanager
def _powered(head: nn.Module, power: Optional[float]) -> Iterator[None]:
    """Give a head another ``objectness_power`` for a while, unless None."""
    if power is None:
        yield
        return
    own, head.objectness_power = head.objectness_power, power
    try:
        yield
    finally:
        head.objectness_power = own
