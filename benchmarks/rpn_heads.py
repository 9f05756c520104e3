#!/usr/bin/env python
"""Measure region proposal heads beside mmdet's and torchvision's.

python benchmarks/rpn_heads.py --out docs/performance.md
python benchmarks/rpn_heads.py --out docs/performance.md --device cuda
"""

import argparse
import math
from collections import OrderedDict
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import instruments
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.models.detection import rpn as tv_rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

import mmdet_klrpn  # noqa: F401

FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
CONFIGS = dict(
    GARPNHead='guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py',
    CascadeRPNHead=(
        'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py'
    ),
)
# Names of contestants, and the options of their heads.
HEADS = {name: {} for name in ('RPNHead', 'SparseRPNHead', 'KLRPNHead')}
OTHERS = {name: {} for name in (*CONFIGS, 'torchvision')}
OPTIONS = {
    'KLRPNHead': {},
    'KLRPNHead, num_stds=4': dict(num_stds=4),
    'KLRPNHead, pos_topk=0': dict(pos_topk=0),
}
WITH_LAYERS = {**HEADS, 'KLRPNHead, num_convs=2': dict(num_convs=2)}
STRIDES = (4, 8, 16, 32, 64)
LARGE, SMALL = (800, 1344), (320, 320)
# Images, and objects in each.
USUAL, CROWDED = (2, 20), (2, 2000)
SIZES = [(1, 1), (1, 20), (2, 200), CROWDED, (16, 1), (16, 20)]
# With more in the batch its matrix of anchors by objects takes gigabytes.
MOST_OBJECTS = dict(RPNHead=400)
STAGES = ('loss', 'proposals')
QUANTITIES = ('operations', 'waits', 'MB moved', 'peak MB', 'ms')


@lru_cache(maxsize=None)
def load(path: str) -> ConfigDict:
    """The model of one of mmdet's configs."""
    return get_config(f'mmdet::{path}').model


def build_head(name: str, **options) -> nn.Module:
    """A head by the numbers of mmdet's Faster R-CNN, or of its own config."""
    kind = name.split(',')[0]
    if kind == 'torchvision':
        return TorchvisionRPN()
    model = load(CONFIGS.get(kind, FASTER_RCNN))
    # All give as many proposals; GARPNHead wants one more number.
    test_cfg = ConfigDict(load(FASTER_RCNN).test_cfg.rpn, nms_post=1000)
    head = ConfigDict(model.rpn_head, type=kind, **options)
    head.update(train_cfg=model.train_cfg.rpn, test_cfg=test_cfg)
    if kind == 'CascadeRPNHead':
        head.num_classes = 1
    return MODELS.build(head)


class TorchvisionRPN(tv_rpn.RegionProposalNetwork):
    """torchvision's, with the anchors and numbers of mmdet's."""

    def __init__(self) -> None:
        sizes = tuple((8 * stride,) for stride in STRIDES)
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(STRIDES))
        head, number = tv_rpn.RPNHead(256, 3), dict(training=0, testing=1000)
        head.num_base_priors = 3
        numbers = (0.7, 0.3, 256, 0.5, number, number, 0.7)
        super().__init__(anchors, head, *numbers)

    def loss(self, x: List[Tensor], samples: List[DetDataSample]) -> dict:
        """As mmdet's heads have it."""
        objects = [dict(boxes=each.gt_instances.bboxes) for each in samples]
        anchors = self.anchor_generator(_images(x, samples), x)
        labels, boxes = self.assign_targets_to_anchors(anchors, objects)
        targets = self.box_coder.encode(boxes, anchors)
        maps = tv_rpn.concat_box_prediction_layers(*self.head(x))
        losses = self.compute_loss(*maps, labels, targets)
        return dict(loss_rpn_cls=losses[0], loss_rpn_bbox=losses[1])

    def predict(self, x: List[Tensor], samples: List[DetDataSample]) -> list:
        """As mmdet's heads have it."""
        return self(_images(x, samples), OrderedDict(enumerate(x)))[0]


def _images(x: List[Tensor], samples: List[DetDataSample]) -> ImageList:
    shapes = [sample.img_shape for sample in samples]
    return ImageList(x[0].new_empty((len(x[0]), 3, *shapes[0])), shapes)


def samples_of(images: int, count: int, shape: tuple) -> List[DetDataSample]:
    """Images that fill the batch, and objects of 16 to 512 pixels in them."""
    generator = torch.Generator().manual_seed(0)
    size, samples = torch.tensor(shape[::-1]), []
    keys = ('img_shape', 'pad_shape', 'ori_shape', 'batch_input_shape')
    for i in range(images):
        centres = torch.rand((count, 2), generator=generator) * size
        sides = 2 ** (4 + 5 * torch.rand((count, 2), generator=generator))
        sides *= min(1.0, shape[0] / LARGE[0]) / 2
        boxes = torch.cat([centres - sides, centres + sides], dim=1)
        boxes = boxes.clamp(min=0).minimum(size.repeat(2))
        labels = torch.zeros(count, dtype=torch.long)
        meta = dict(dict.fromkeys(keys, shape), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=dict(meta, img_id=i))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0])
        samples.append(sample)
    return samples


def features_of(
    images: int, shape: tuple, strides: Sequence[int], channels: int
) -> List[Tensor]:
    """A feature pyramid."""
    sizes = [[-(-side // stride) for side in shape] for stride in strides]
    return [torch.rand((images, channels, *size)) for size in sizes]


def total(losses: dict) -> Tensor:
    """Sum of losses, as mmengine's models parse them."""
    terms = []
    for name, loss in losses.items():
        if 'loss' in name:
            terms += loss if isinstance(loss, (list, tuple)) else [loss]
    return sum(term.mean() for term in terms)


class Problem:
    """A head whose layers have been run: random predictions, and objects.

    Args:
        name (str): The contestant.
        size (tuple[int, int]): Images, and objects in each.
        shape (tuple[int, int]): Height and width of the images.
        device (str): Where to compute.
        strides (Sequence[int]): Of the maps.
        **options: Of the head.
    """

    def __init__(
        self,
        name: str,
        size: Tuple[int, int],
        shape: Tuple[int, int] = LARGE,
        device: str = 'cpu',
        strides: Sequence[int] = STRIDES,
        **options,
    ) -> None:
        torch.manual_seed(0)
        self.leaves: List[Tensor] = []
        self.samples = [x.to(device) for x in samples_of(*size, shape)]
        # Of features, heads read no more than the sizes.
        features = features_of(size[0], shape, strides, channels=1)
        self.features = [x.to(device) for x in features]
        self.head = head = build_head(name, **options)
        parts = getattr(head, 'stages', None) or [getattr(head, 'head', head)]
        hooks = [part.register_forward_hook(self._replace) for part in parts]
        small = (128, 128)
        head.loss(features_of(1, small, strides, 256), samples_of(1, 1, small))
        for hook in hooks:
            hook.remove()
        head.to(device).eval()

    def _replace(self, part: nn.Module, _: tuple, outputs: tuple) -> None:
        """Let layers give predictions for the images at hand from now on."""
        given = tuple(
            [self._random(*pair, part) for pair in zip(maps, self.features)]
            for maps in outputs
        )
        part.forward = lambda *_: given

    def _random(
        self, like: Tensor, feature: Tensor, part: nn.Module
    ) -> Tensor:
        if like is None or like.shape[1] > 64:
            # A stage of Cascade RPN has no scores, or gives features too.
            return like if like is None else feature
        shape = (len(feature), like.shape[1], *feature.shape[2:])
        is_score = like.shape[1] == part.num_base_priors
        x = torch.randn(shape)
        x = 3 * x - 5 if is_score else 0.3 * x
        self.leaves.append(x.to(feature.device).requires_grad_())
        return self.leaves[-1]

    def loss(self) -> None:
        """Losses and their gradients by the outputs of the layers."""
        torch.manual_seed(0)
        losses = self.head.loss(self.features, self.samples)
        torch.autograd.grad(total(losses), self.leaves)

    @torch.no_grad()
    def proposals(self) -> None:
        """Proposals, as in a test."""
        self.head.predict(self.features, self.samples)

    def costs(self, stage: str) -> List[str]:
        """All of ``QUANTITIES`` of a stage but its time."""
        function = getattr(self, stage)
        function()  # fills caches
        with instruments.counting() as counts:
            function()
        peak = instruments.peak_memory(function, self.features[0].device.type)
        launches = f'{counts.launches - counts.backward:,}'
        if counts.backward:
            launches += f' + {counts.backward:,}'
        moved = instruments.figure(counts.bytes / 1e6)
        return [launches, f'{counts.waits:,}', moved, instruments.figure(peak)]


def measure(
    args: argparse.Namespace,
    contestants: dict,
    stage: str,
    size: Tuple[int, int],
    **kwargs,
) -> Dict[str, List[str]]:
    """All of ``QUANTITIES`` of a stage, for each contestant."""
    problems = {
        name: Problem(name, size, device=args.device, **options, **kwargs)
        for name, options in contestants.items()
        if math.prod(size) <= MOST_OBJECTS.get(name, math.inf)
    }
    functions = {name: getattr(x, stage) for name, x in problems.items()}
    turns = instruments.take_turns(functions, args.turns, args.device)
    times = instruments.compare(turns, next(iter(contestants)))
    return {
        name: [*problem.costs(stage), time]
        for (name, problem), time in zip(problems.items(), times)
    }


def tabulate(
    args: argparse.Namespace,
    contestants: dict,
    stage: str,
    sizes: List[Tuple[int, int]],
) -> tuple:
    """A table of a stage, with a row for each size and contestant."""
    rows = [
        [f'{size[0]} x {size[1]:,}', name, *costs]
        for size in sizes
        for name, costs in measure(args, contestants, stage, size).items()
    ]
    head = ['Images x objects', 'Head', *QUANTITIES]
    return f'{stage.capitalize()}.', head, rows


def section_heads(args: argparse.Namespace) -> Iterator[tuple]:
    """2 images of 800x1344 with 20 objects each."""
    for stage in STAGES:
        yield tabulate(args, {**HEADS, **OTHERS}, stage, [USUAL])


def section_sizes(args: argparse.Namespace) -> Iterator[tuple]:
    """More and fewer images and objects."""
    yield tabulate(args, HEADS, 'loss', SIZES)
    yield tabulate(args, HEADS, 'proposals', SIZES[-1:])


def section_options(args: argparse.Namespace) -> Iterator[tuple]:
    """Options of KLRPNHead."""
    yield tabulate(args, OPTIONS, 'loss', [CROWDED])
    yield tabulate(args, OPTIONS, 'proposals', [USUAL])


def section_small(args: argparse.Namespace) -> Iterator[tuple]:
    """Images of 320x320."""
    args = argparse.Namespace(device=args.device, turns=5 * args.turns)
    anchors = ConfigDict(load(FASTER_RCNN).rpn_head.anchor_generator)
    anchors.update(strides=[16], scales=[2, 4, 8])
    one_map = dict(anchor_generator=anchors, strides=[16])
    maps, rows = {'pyramid': {}, 'one map of stride 16': one_map}, []
    cases = product(STAGES, maps.items(), [(1, 1), USUAL])
    for stage, (name, options), size in cases:
        found = measure(args, HEADS, stage, size, shape=SMALL, **options)
        times = [costs[-1] for costs in found.values()]
        rows.append([f'{size[0]} x {size[1]}', f'{stage}, {name}', *times])
    yield 'Times in ms.', ['Images x objects', 'Stage', *HEADS], rows


def iterate(
    model: nn.Module, image: Tensor, samples: List[DetDataSample]
) -> Iterator[str]:
    """Train for a step; the name of each part when it is done."""
    head = model.rpn_head
    objects = [sample.gt_instances for sample in samples]
    metas = [sample.metainfo for sample in samples]
    features = model.extract_feat(image)
    yield 'backbone and neck'
    maps = head(features)
    yield 'layers of the RPN'
    losses = head.loss_by_feat(*maps, objects, metas)
    yield 'loss of the RPN'
    cfg = model.train_cfg.rpn_proposal
    found = head.predict_by_feat(*maps, batch_img_metas=metas, cfg=cfg)
    yield 'proposals'
    losses.update(model.roi_head.loss(features, found, samples))
    yield 'RoI head'
    total(losses).backward()
    model.zero_grad()
    yield 'backward'


def laps(steps: Iterator[str], read: Callable[[], float]) -> Dict[str, float]:
    """How much a reading grows in each step, and in all."""
    found, before = {}, read()
    for name in steps:
        now = read()
        found[name], before = now - before, now
    return dict(found, sum=sum(found.values()))


def section_step(args: argparse.Namespace) -> Iterator[tuple]:
    """Training step of Faster R-CNN, ResNet-50-FPN, 1 image of 800x1344."""
    models = {
        name: build_detector(name, **options).to(args.device)
        for name, options in WITH_LAYERS.items()
    }
    image = torch.rand((1, 3, *LARGE), device=args.device)
    # With RPNHead a thousand objects take most of a minute.
    few = ('RPNHead', 'KLRPNHead')
    for count, names, turns in ((20, models, args.turns), (1000, few, 1)):
        samples = [x.to(args.device) for x in samples_of(1, count, LARGE)]
        times = {name: [] for name in names}
        for turn, name in product(range(turns + 1), names):
            step = iterate(models[name], image, samples)
            lap = laps(step, instruments.clock(args.device))
            if turn:  # the one before fills caches
                times[name].append(lap)
        rows = []
        for part in lap:
            row = {k: [1e3 * x[part] for x in v] for k, v in times.items()}
            rows.append([part, *instruments.compare(row, 'RPNHead')])
        yield f'{count:,} objects, times in ms.', ['Part', *names], rows


def build_detector(name: str, **options) -> nn.Module:
    """Build Faster R-CNN with that RPN head, untrained."""
    model = ConfigDict(load(FASTER_RCNN))
    model.rpn_head = dict(model.rpn_head, type=name.split(',')[0], **options)
    model.backbone = dict(model.backbone, init_cfg=None)
    torch.manual_seed(0)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector.train()


SECTIONS = {
    name[8:]: section
    for name, section in list(globals().items())
    if name.startswith('section_')
}


def main() -> None:
    """Measure section by section."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--turns', type=int, default=3)
    parser.add_argument('--sections', nargs='+', default=list(SECTIONS))
    parser.add_argument('--out', type=Path, help='page to write the tables to')
    args = parser.parse_args()
    torch.set_num_threads(1)
    register_all_modules(init_default_scope=True)
    MMLogger.get_current_instance().setLevel('WARNING')
    texts = [instruments.environment(args.device)]
    for name in args.sections:
        texts.append(f'### {SECTIONS[name].__doc__.rstrip(".")}')
        for table in SECTIONS[name](args):
            texts.append(instruments.render(*table))
            print(texts[-1], end='\n\n', flush=True)
    if args.out:
        instruments.write(args.out, args.device, '\n\n'.join(texts))


if __name__ == '__main__':
    main()
