#!/usr/bin/env python
"""Export the dense part of a detector with KL-RPN to ONNX.

Of each level, the log-variances and the encoded offsets, from its features or,
with --images, from images. The file is then run in ONNX Runtime at other batch
and map sizes than it was traced with, and compared. See docs/deployment.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.deployment import (
    HeadOutputs,
    ImageOutputs,
    check_onnx,
    describe,
    export_onnx,
    find_kl_rpn,
)
from mmdet_klrpn.utils import check_output


def export(
    config: str, checkpoint: Optional[str], out: Path, images: bool
) -> float:
    """Export, and compare with ONNX Runtime.

    Args:
        config (str): Config file.
        checkpoint (str, optional): Checkpoint; random weights without.
        out (Path): The file to write.
        images (bool): From images, not from features.

    Returns:
        float: The largest absolute difference of any output.

    Raises:
        ValueError: If the file to write is one that is read.
    """
    check_output(out, config, checkpoint)
    model = load_detector(config, checkpoint)
    detector, head = find_kl_rpn(model)
    if head.second_look is not None:
        print(
            f'{out}: the second look is not exported; boxes, scores and stds '
            'of the file are those of the first look',
            file=sys.stderr,
        )
    module = ImageOutputs(detector, head) if images else HeadOutputs(head)
    export_onnx(module, out, describe(model, head))
    return check_onnx(out, module)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('-o', '--out', type=Path, required=True)
    parser.add_argument(
        '--images',
        action='store_true',
        help='from images, through backbone and neck',
    )
    args = parser.parse_args()
    try:
        worst = export(args.config, args.checkpoint, args.out, args.images)
    except Exception as error:  # whatever a model's own code may raise
        line = ' '.join(str(error).split()) or type(error).__name__
        sys.exit(f'{args.config}: {line}')
    print(
        f'{args.out}: written, and at two other sizes at most {worst:.1e} '
        'from PyTorch in ONNX Runtime'
    )


if __name__ == '__main__':
    main()
