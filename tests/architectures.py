"""What the paper's two detectors weigh and cost, from their descriptions.

Written down from the papers, without the code that builds them, so that the
two can be compared. A part is a pair: parameters, and multiply-adds of one
image of which height and width are multiples of 32.
"""

from typing import Dict, Tuple

Part = Tuple[int, int]


def _conv(
    c_in: int, c_out: int, size: int, cells: int, bias: bool = True
) -> Part:
    """A convolution of size x size, computed at so many cells."""
    weights = size * size * c_in * c_out
    return weights + bias * c_out, weights * cells


def _sum(*parts: Part) -> Part:
    return sum(p for p, _ in parts), sum(m for _, m in parts)


def vgg16(height: int, width: int) -> Part:
    """Thirteen convolutions, conv1_1 to conv5_3."""
    parts, c_in = [], 3
    for stage, (depth, channels) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    ):
        cells = (height >> stage) * (width >> stage)
        for _ in range(depth):
            parts.append(_conv(c_in, channels, 3, cells))
            c_in = channels
    return _sum(*parts)


def res_stage(stage: int, depth: int, cells: int, c_in: int) -> Part:
    """A stage of bottlenecks, each normalisation with a scale and a shift."""
    mid = 64 << (stage - 2)
    out = 4 * mid

    def conv(c_in: int, c_out: int, size: int) -> Part:
        weights, macs = _conv(c_in, c_out, size, cells, bias=False)
        return weights + 2 * c_out, macs

    parts = [conv(c_in, out, 1)]  # the projection of the first shortcut
    for _ in range(depth):
        parts += [conv(c_in, mid, 1), conv(mid, mid, 3), conv(mid, out, 1)]
        c_in = out
    return _sum(*parts)


def resnet101_c4(height: int, width: int) -> Part:
    """conv1 to conv4, at strides of 2, 4, 8 and 16."""
    cells = [(height >> i) * (width >> i) for i in range(5)]
    weights, macs = _conv(3, 64, 7, cells[1], bias=False)
    return _sum(
        (weights + 2 * 64, macs),
        res_stage(2, 3, cells[2], 64),
        res_stage(3, 4, cells[3], 256),
        res_stage(4, 23, cells[4], 512),
    )


def rpn(c_in: int, anchors: int, stds: int, cells: int) -> Part:
    """A 3x3 convolution to 512, then logits or stds, and offsets."""
    return _sum(
        _conv(c_in, 512, 3, cells),
        _conv(512, anchors * (stds or 1), 1, cells),
        _conv(512, anchors * 4, 1, cells),
    )


def faster_rcnn_vgg16(
    height: int, width: int, classes: int, anchors: int, stds: int, rois: int
) -> Dict[str, Part]:
    """Faster R-CNN with VGG-16; ``stds`` per anchor, 0 of an ordinary RPN."""
    cells = (height >> 4) * (width >> 4)
    return {
        'conv1_1-conv5_3': vgg16(height, width),
        'RPN': rpn(512, anchors, stds, cells),
        'fc6': _conv(512 * 7 * 7, 4096, 1, rois),
        'fc7': _conv(4096, 4096, 1, rois),
        'predictors': _sum(
            _conv(4096, classes + 1, 1, rois),
            _conv(4096, classes * 4, 1, rois),
        ),
    }


def rfcn_resnet101(
    height: int, width: int, classes: int, anchors: int, stds: int
) -> Dict[str, Part]:
    """R-FCN with ResNet-101, 7 x 7 bins; no part depends on the RoIs."""
    cells = (height >> 4) * (width >> 4)
    return {
        'conv1-conv4': resnet101_c4(height, width),
        'RPN': rpn(1024, anchors, stds, cells),
        'conv5': res_stage(5, 3, cells, 1024),
        'conv of 1024': _conv(2048, 1024, 1, cells),
        'score maps': _conv(1024, 49 * (classes + 1), 1, cells),
        'box maps': _conv(1024, 49 * 4, 1, cells),
    }
