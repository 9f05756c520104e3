#!/usr/bin/env python
"""Measure region proposal heads against mmdet's, and write what was found.

Every comparison is paired: the contestants take turns in one process, on the
same features, objects and seeds, and a ratio is the median over turns. A GPU
is timed by CUDA events, warmed up and synchronised.

    python benchmarks/rpn_heads.py                    # one core of a CPU
    python benchmarks/rpn_heads.py --device cuda      # a GPU
    python benchmarks/rpn_heads.py --sections loss predict
    python benchmarks/rpn_heads.py --detectors BASELINE.py OTHER.py ...
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Sequence, Tuple

import mmcv
import mmdet
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torchvision.models.detection import rpn as tv_rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

import mmdet_klrpn  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
FASTER_RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
# A baseline, and what is compared with it.
DETECTORS = [
    [
        FASTER_RCNN,
        'SparseRPNHead',
        'configs/kl_rpn/faster-rcnn_r50_fpn_kl-rpn_1x_coco.py',
    ],
    [
        'configs/faster_rcnn/faster-rcnn_vgg16_1x_coco.py',
        'configs/kl_rpn/faster-rcnn_vgg16_kl-rpn_1x_coco.py',
    ],
    [
        'configs/rfcn/rfcn_r101-caffe_1x_coco.py',
        'configs/kl_rpn/rfcn_r101-caffe_kl-rpn_1x_coco.py',
    ],
]
# In training and in a test; GARPNHead wants one more number.
PROPOSAL_CFG, TEST_CFG = (
    ConfigDict(cfg, nms_post=1000)
    for cfg in (
        get_config(FASTER_RCNN).model.train_cfg.rpn_proposal,
        get_config(FASTER_RCNN).model.test_cfg.rpn,
    )
)
HEADS = ('RPNHead', 'SparseRPNHead', 'KLRPNHead')
STRIDES = (4, 8, 16, 32, 64)
LARGE, SMALL = (800, 1344), (320, 320)
IMAGES = 2
# RPNHead's matrix of more objects takes minutes and tens of gigabytes.
MOST_OBJECTS_OF_RPN_HEAD = 1000


class Bench:
    """Times functions and weighs their memory, on one device.

    Args:
        device (str): 'cpu' or 'cuda'.
        rounds (int): Turns of each contestant.
    """

    def __init__(self, device: str, rounds: int) -> None:
        self.device = torch.device(device)
        self.rounds = rounds

    def _milliseconds(self, function: Callable) -> float:
        if self.device.type == 'cpu':
            start = time.perf_counter()
            function()
            return 1e3 * (time.perf_counter() - start)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    def time(
        self, functions: Dict[str, Callable], rounds: int = 0
    ) -> Dict[str, Tuple[float, float]]:
        """Let functions take turns.

        Returns:
            dict[str, tuple]: Of each, the median of its milliseconds and of
            how many times faster it is than the first in the same turn.
        """
        for function in functions.values():
            function()  # warms up
        turns = [
            [self._milliseconds(function) for function in functions.values()]
            for _ in range(rounds or self.rounds)
        ]
        return {
            name: (
                median(turn[i] for turn in turns),
                median(turn[0] / turn[i] for turn in turns),
            )
            for i, name in enumerate(functions)
        }

    def peak_memory(self, function: Callable) -> float:
        """Most memory of tensors in use at once, beyond that before, in MB."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            function()
            return (torch.cuda.max_memory_allocated() - before) / 1e6
        # The profiler hears of every allocation and release by torch.
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            function()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'trace.json'
            profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text())['traceEvents']
        used = peak = 0
        for event in sorted(events, key=lambda event: event.get('ts', 0)):
            if event.get('name') == '[memory]':
                used += event['args']['Bytes']
                peak = max(peak, used)
        return peak / 1e6


def objects(count: int, shape: Sequence[int], seed: int) -> InstanceData:
    """Random boxes of 16 to 512 pixels, cut to the image."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape
    scale = min(1.0, height / LARGE[0])
    centres = torch.rand((count, 2), generator=generator)
    centres = centres * torch.tensor([width, height])
    sides = 2 ** (4 + 5 * torch.rand((count, 2), generator=generator)) * scale
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    limit = torch.tensor([width, height]).repeat(2)
    return InstanceData(
        bboxes=boxes.clamp(min=0).minimum(limit),
        labels=torch.zeros(count, dtype=torch.long),
    )


def metas(shape: Sequence[int], images: int) -> List[dict]:
    """Meta information of images that fill the batch."""
    keys = ('img_shape', 'pad_shape', 'ori_shape', 'batch_input_shape')
    meta = dict({key: tuple(shape) for key in keys}, scale_factor=(1.0, 1.0))
    return [dict(meta, img_id=i) for i in range(images)]


def build_head(kind: str, single_map: bool = False) -> nn.Module:
    """The RPN head of mmdet's Faster R-CNN, of another type."""
    model = get_config(FASTER_RCNN).model
    head = ConfigDict(model.rpn_head, type=kind)
    head.update(train_cfg=model.train_cfg.rpn, test_cfg=model.test_cfg.rpn)
    if single_map:
        head.anchor_generator.update(strides=[16], scales=[2, 4, 8])
    return MODELS.build(head)


class Problem:
    """Outputs of the layers of a head, and objects to find.

    Args:
        bench (Bench): Where to compute.
        kind (str): Type of the head.
        count (int): Objects per image.
        shape (Sequence[int]): Height and width of images.
        images (int): Their number.
        single_map (bool): One map of stride 16 in place of a pyramid.
    """

    def __init__(
        self,
        bench: Bench,
        kind: str,
        count: int = 20,
        shape: Sequence[int] = LARGE,
        images: int = IMAGES,
        single_map: bool = False,
    ) -> None:
        self.head = build_head(kind, single_map).to(bench.device)
        self.metas = metas(shape, images)
        self.objects = [
            objects(count, shape, i).to(bench.device) for i in range(images)
        ]
        generator = torch.Generator().manual_seed(0)
        maps = [
            [-(-side // stride) for side in shape]
            for stride in ([16] if single_map else STRIDES)
        ]
        # The offsets of all heads are the same, and the logits of those with
        # one for each anchor.
        self.deltas, self.logits = (
            [
                torch.randn(
                    (images, self.head.num_base_priors * channels, *size),
                    generator=generator,
                )
                for size in maps
            ]
            for channels in (4, self.head.cls_out_channels)
        )
        self.deltas = [(0.3 * x).to(bench.device) for x in self.deltas]
        self.logits = [(3 * x - 5).to(bench.device) for x in self.logits]
        for level in self.logits + self.deltas:
            level.requires_grad_()

    def loss(self) -> None:
        """Losses and their gradients by the outputs of the layers."""
        torch.manual_seed(0)
        losses = self.head.loss_by_feat(
            self.logits, self.deltas, self.objects, self.metas
        )
        torch.autograd.grad(total(losses), self.logits + self.deltas)

    def predict(self) -> None:
        """Proposals, as in a test."""
        with torch.no_grad():
            self.head.predict_by_feat(
                self.logits, self.deltas, batch_img_metas=self.metas
            )

    def propose(self) -> None:
        """Proposals, as in training."""
        with torch.no_grad():
            self.head.predict_by_feat(
                self.logits, self.deltas, None, self.metas, PROPOSAL_CFG
            )


def total(losses: dict) -> Tensor:
    """Sum of losses, as mmengine's models parse them."""
    terms = []
    for name, loss in losses.items():
        if 'loss' in name:
            terms += loss if isinstance(loss, (list, tuple)) else [loss]
    return sum(term.mean() for term in terms)


Table = Tuple[str, List[List[str]]]


def cells(results: Dict[str, Tuple[float, float]]) -> List[str]:
    """Milliseconds of the first, those of the others with their ratio."""
    (base, _), *others = results.values()
    return [f'{base:.4g}', *(f'{t:.4g} ({r:.3g}x)' for t, r in others)]


def section_loss(bench: Bench, args: argparse.Namespace) -> Table:
    """Loss and its gradients, in ms, by objects per image."""
    rows = [['Objects', *HEADS]]
    for count in args.objects:
        heads = HEADS if count <= MOST_OBJECTS_OF_RPN_HEAD else HEADS[1:]
        problems = {head: Problem(bench, head, count) for head in heads}
        loss = {head: problem.loss for head, problem in problems.items()}
        # Its turns take tens of seconds.
        rounds = 1 if count == MOST_OBJECTS_OF_RPN_HEAD else 0
        results = bench.time(loss, rounds)
        if len(heads) == len(HEADS):
            rows.append([str(count), *cells(results)])
        else:
            times = [f'{t:.4g}' for t, _ in results.values()]
            rows.append([str(count), 'not run', *times])
    return section_loss.__doc__, rows


def section_growth(bench: Bench, args: argparse.Namespace) -> Table:
    """Cost of 2,000 objects per image over that of 20, loss and gradients."""
    rows = [['', *HEADS[1:]]]
    ratios = []
    for head in HEADS[1:]:
        crowd, few = Problem(bench, head, 2000), Problem(bench, head, 20)
        results = bench.time(dict(crowd=crowd.loss, few=few.loss))
        ratios.append(f'{results["few"][1]:.3g}x')
    return section_growth.__doc__, [*rows, ['2,000 / 20', *ratios]]


def section_predict(bench: Bench, args: argparse.Namespace) -> Table:
    """Proposals from the outputs of the layers, in ms."""
    problems = {head: Problem(bench, head) for head in HEADS}
    rows = [['nms_pre', *HEADS]]
    for name, nms_pre in (('predict', 1000), ('propose', 2000)):
        functions = {h: getattr(p, name) for h, p in problems.items()}
        rows.append([str(nms_pre), *cells(bench.time(functions))])
    return section_predict.__doc__, rows


def section_memory(bench: Bench, args: argparse.Namespace) -> Table:
    """Peak memory of loss and gradients, in MB, by objects per image."""
    rows = [['Objects', *HEADS]]
    for count in args.objects:
        row = [str(count)]
        for head in HEADS:
            if head == 'RPNHead' and count > MOST_OBJECTS_OF_RPN_HEAD:
                row.append('not run')
                continue
            problem = Problem(bench, head, count)
            problem.loss()  # builds what is kept between iterations
            used = bench.peak_memory(problem.loss)
            if head == 'RPNHead':
                base = used
                row.append(f'{used:.4g}')
            elif count > MOST_OBJECTS_OF_RPN_HEAD:
                row.append(f'{used:.4g}')
            else:
                row.append(f'{used:.4g} (1/{base / used:.3g})')
        rows.append(row)
    return section_memory.__doc__, rows


def section_small(bench: Bench, args: argparse.Namespace) -> Table:
    """A single map of 20x20, 9 anchors each, of 320x320 images, in ms."""
    rows = [['Images, objects, what', *HEADS]]
    for images in (1, 2):
        for count in (1, 20):
            problems = {
                head: Problem(bench, head, count, SMALL, images, True)
                for head in HEADS
            }
            for name in ('loss', 'predict'):
                functions = {h: getattr(p, name) for h, p in problems.items()}
                results = bench.time(functions, 20 * bench.rounds)
                label = f'{images}, {count}, {name}'
                rows.append([label, *cells(results)])
    return section_small.__doc__, rows


def samples_of(bench: Bench, shape: Sequence[int]) -> List[DetDataSample]:
    """20 objects in each image, as detectors take them."""
    samples = []
    for i, meta in enumerate(metas(shape, IMAGES)):
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = objects(20, shape, i)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros((0, 4)))
        samples.append(sample.to(bench.device))
    return samples


class TorchvisionRPN(nn.Module):
    """torchvision's, with the anchors and numbers of mmdet's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = tuple((8 * stride,) for stride in STRIDES)
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(STRIDES))
        self.rpn = tv_rpn.RegionProposalNetwork(
            anchors,
            tv_rpn.RPNHead(channels, 3),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n=dict(training=2000, testing=1000),
            post_nms_top_n=dict(training=1000, testing=1000),
            nms_thresh=0.7,
        )

    def loss_and_predict(
        self, features: Sequence[Tensor], samples: List[DetDataSample], cfg
    ) -> Tuple[dict, list]:
        """As mmdet's heads have it."""
        shapes = [sample.img_shape for sample in samples]
        images = features[0].new_empty((len(samples), 3, *shapes[0]))
        boxes, losses = self.rpn(
            ImageList(images, shapes),
            OrderedDict(enumerate(features)),
            [dict(boxes=sample.gt_instances.bboxes) for sample in samples],
        )
        return losses, boxes

    def predict(
        self, features: Sequence[Tensor], samples: List[DetDataSample]
    ) -> list:
        """As mmdet's heads have it."""
        return self.loss_and_predict(features, samples, None)[1]


def build_heads(channels: int) -> Dict[str, nn.Module]:
    """Whole heads, of so many channels, by name."""

    def narrowed(config: dict) -> dict:
        for key, value in config.items():
            if key in ('in_channels', 'feat_channels'):
                config[key] = channels
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, dict):
                    narrowed(child)
        return config

    configs = dict.fromkeys(HEADS, FASTER_RCNN)
    configs['CascadeRPNHead'] = (
        'mmdet::cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py'
    )
    configs['GARPNHead'] = (
        'mmdet::guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco.py'
    )
    heads = {'torchvision': TorchvisionRPN(channels)}
    for kind, path in configs.items():
        model = get_config(path).model
        head = narrowed(ConfigDict(model.rpn_head, type=kind))
        # Each trains in its own way, and all give as many proposals.
        head.update(
            train_cfg=model.train_cfg.rpn, test_cfg=TEST_CFG, num_classes=1
        )
        heads[kind] = MODELS.build(head)
    # Not the first, with which all are compared, and not the last.
    return {kind: heads[kind] for kind in (*HEADS, *heads)}


def section_heads(bench: Bench, args: argparse.Namespace) -> Table:
    """Whole heads from features on, 20 objects per image, in ms."""
    generator = torch.Generator().manual_seed(0)
    shape, samples = LARGE, samples_of(bench, LARGE)
    features = [
        torch.randn(
            (IMAGES, args.channels, -(-shape[0] // s), -(-shape[1] // s)),
            generator=generator,
        ).to(bench.device)
        for s in STRIDES
    ]

    def training(head: nn.Module) -> None:
        head.train().zero_grad()
        losses, _ = head.loss_and_predict(features, samples, PROPOSAL_CFG)
        total(losses).backward()

    def test(head: nn.Module) -> None:
        # GARPNHead takes a single image.
        with torch.no_grad():
            head.eval().predict([x[:1] for x in features], samples[:1])

    heads = {
        kind: head.to(bench.device)
        for kind, head in build_heads(args.channels).items()
    }
    rows = [['', *heads]]
    for name, step in (
        ('training, 2 images', training),
        ('test, 1 image', test),
    ):
        functions = {
            kind: lambda step=step, head=head: step(head)
            for kind, head in heads.items()
        }
        absent = []
        if step is test and args.device == 'cpu':
            # mmcv has no masked convolution for it.
            del functions['GARPNHead']
            absent = ['no CPU kernel']
        results = bench.time(functions, args.turns)
        rows.append([name, *cells(results), *absent])
    title = section_heads.__doc__[:-1]
    return f'{title}, {args.channels} channels, {args.turns} turns.', rows


def build_detector(name: str, baseline: str) -> nn.Module:
    """From a config, or from the baseline's with that type of RPN head."""
    is_config = name.endswith('.py')
    path = name if is_config else baseline
    if '::' in path:
        model = get_config(path).model
    else:
        model = Config.fromfile(ROOT / path).model
    if not is_config:
        model.rpn_head.type = name
    torch.manual_seed(0)
    detector = MODELS.build(untrained(model))
    detector.init_weights()
    return detector


def untrained(config: dict) -> dict:
    """Without weights to download."""
    initial = config.get('init_cfg')
    if isinstance(initial, dict) and initial.get('type') == 'Pretrained':
        config['init_cfg'] = None
    for value in config.values():
        if isinstance(value, dict):
            untrained(value)
    return config


def section_detectors(bench: Bench, args: argparse.Namespace) -> List[Table]:
    """Whole detectors, 20 objects per image, in ms."""
    tables = []
    shape, samples = args.size, samples_of(bench, args.size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((IMAGES, 3, *shape), generator=generator)
    images = images.to(bench.device)
    for baseline, *others in args.detectors:
        models = {
            Path(name).stem: build_detector(name, baseline).to(bench.device)
            for name in (baseline, *others)
        }
        first, *rest = models.values()
        for model in rest:  # or their proposals make unequal work
            model.load_state_dict(first.state_dict())

        def iterate(model: nn.Module) -> None:
            optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-6)
            total(model(images, samples, mode='loss')).backward()
            optimizer.step()
            optimizer.zero_grad()

        def test(model: nn.Module) -> None:
            with torch.no_grad():
                model.eval()(images, samples, mode='predict')

        rows = [['', *models]]
        for name, step in (('iteration', iterate), ('test', test)):
            functions = {
                kind: lambda step=step, model=model: step(model)
                for kind, model in models.items()
            }
            rows.append([name, *cells(bench.time(functions, args.turns))])
        title = section_detectors.__doc__
        size = f'images of {shape[0]}x{shape[1]}, {args.turns} turns'
        tables.append((f'{title[:-1]}, {size}.', rows))
    return tables


SECTIONS = {
    name[len('section_') :]: function
    for name, function in list(globals().items())
    if name.startswith('section_')
}


def setting(args: argparse.Namespace) -> str:
    """Where the numbers come from."""
    if args.device == 'cpu':
        device = f'CPU ({platform.machine()}), {args.threads} thread(s)'
    else:
        device = torch.cuda.get_device_name()
    versions = ', '.join(
        f'{module.__name__} {module.__version__}'
        for module in (torch, torchvision, mmcv, mmdet)
    )
    command = ' '.join(['python benchmarks/rpn_heads.py', *sys.argv[1:]])
    return (
        f'`{command}`\n\n'
        f'{device}. Python {platform.python_version()}, {versions}. '
        f'{IMAGES} images of {LARGE[0]}x{LARGE[1]}, strides 4 to 64, '
        f'{args.rounds} turns, unless said.'
    )


def render(table: Table) -> str:
    """A table in Markdown."""
    title, (head, *body) = table
    lines = [title, '', '| ' + ' | '.join(head) + ' |']
    lines.append('| ' + ' | '.join(['---'] * len(head)) + ' |')
    lines += ['| ' + ' | '.join(row) + ' |' for row in body]
    return '\n'.join(lines)


def write(path: Path, name: str, text: str) -> None:
    """Replace the part of a page between the marks of that name."""
    begin, end = f'<!-- measured: {name} -->', f'<!-- end: {name} -->'
    page = path.read_text()
    if begin not in page:
        page += f'\n{begin}\n{end}\n'
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    path.write_text(f'{before}{begin}\n\n{text}\n\n{end}{after}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument(
        '--sections', nargs='+', choices=SECTIONS, default=list(SECTIONS)
    )
    parser.add_argument(
        '--objects', nargs='+', type=int, default=[1, 20, 200, 1000, 2000]
    )
    parser.add_argument('--channels', type=int, help='of whole heads')
    parser.add_argument('--size', nargs=2, type=int, help='of detectors')
    parser.add_argument(
        '--turns', type=int, default=5, help='of whole heads and detectors'
    )
    parser.add_argument(
        '--detectors',
        nargs='+',
        action='append',
        metavar='CONFIG',
        help='a baseline and what to compare with it: configs, or RPN heads '
        'to put into the baseline; may be repeated',
    )
    parser.add_argument('--out', type=Path, help='page to write the tables to')
    args = parser.parse_args()
    on_cpu = args.device == 'cpu'
    # Convolutions would hide the rest on a CPU.
    args.channels = args.channels or (64 if on_cpu else 256)
    args.size = args.size or ((400, 672) if on_cpu else LARGE)
    args.detectors = args.detectors or DETECTORS
    return args


def main() -> None:
    """Measure section by section."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    register_all_modules(init_default_scope=True)
    bench = Bench(args.device, args.rounds)
    text = setting(args)
    print(text, flush=True)
    for section in args.sections:
        tables = SECTIONS[section](bench, args)
        for table in tables if isinstance(tables, list) else [tables]:
            print(f'\n{render(table)}', flush=True)
            text += f'\n\n{render(table)}'
            if args.out:
                write(args.out, args.device, text)


if __name__ == '__main__':
    main()
