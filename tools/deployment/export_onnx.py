#!/usr/bin/env python
"""Export the dense part of a detector with KL-RPN to ONNX.

The file outputs the log-variances and encoded offsets of each level, from
features or, with --from-images, from images. It is then run in ONNX Runtime at
other batch and map sizes, and compared with PyTorch. See docs/deployment.md.
"""

import sys
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from mmdet_klrpn.apis import load_detector
from mmdet_klrpn.deployment import (
    HeadOutputs,
    ImageOutputs,
    check_onnx,
    describe,
    export_onnx,
    find_kl_rpn,
)
from mmdet_klrpn.utils import (
    ToolParser,
    check_output,
    one_line_errors,
    read_config,
)


def export(
    config: Config, checkpoint: Optional[str], out: Path, from_images: bool
) -> float:
    """Export, and compare with ONNX Runtime.

    Args:
        config (Config): Config of the detector.
        checkpoint (str, optional): Checkpoint. Defaults to random weights.
        out (Path): The file to write.
        from_images (bool): Export backbone and neck as well.

    Returns:
        float: The largest absolute difference of any output.

    Raises:
        ValueError: If the output would overwrite an input.
    """
    check_output(out, config.filename, checkpoint)
    model = load_detector(config, checkpoint)
    detector, head = find_kl_rpn(model)
    if head.second_look is not None:
        print(
            f'{out}: the second look is not exported; boxes, scores and stds '
            'of the file are those of the first look',
            file=sys.stderr,
        )
    module = HeadOutputs(head)
    if from_images:
        module = ImageOutputs(detector, head)
    export_onnx(module, out, describe(model, head))
    return check_onnx(out, module)


@one_line_errors()
def main() -> None:
    """Run the command line."""
    parser = ToolParser(description=__doc__)
    parser.add_detector(nargs='?', help='trained weights (default: random)')
    parser.add_argument(
        '--out', type=Path, required=True, help='ONNX file to write'
    )
    parser.add_argument(
        '--from-images',
        action='store_true',
        help='take images, and include backbone and neck',
    )
    args = parser.parse_args()
    config = read_config(args.config, args.cfg_options)
    worst = export(config, args.checkpoint, args.out, args.from_images)
    print(
        f'{args.out}: written, and at two other sizes at most {worst:.1e} '
        'from PyTorch in ONNX Runtime'
    )


if __name__ == '__main__':
    main()
