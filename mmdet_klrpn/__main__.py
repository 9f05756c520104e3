"""The command klrpn, or python -m mmdet_klrpn: one name for each tool."""

import ast
import sys

from mmdet_klrpn.utils.command_line import ToolParser
from mmdet_klrpn.utils.mmdet_tools import run_script
from mmdet_klrpn.utils.package_folders import package_folder

COMMANDS = dict(
    convert='misc/to_kl_rpn.py',
    train='train.py',
    test='test.py',
    benchmark='benchmark.py',
    visualize='analysis_tools/visualize_proposals.py',
    calibrate='analysis_tools/calibration.py',
    recalibrate='analysis_tools/recalibrate.py',
    export='deployment/export_onnx.py',
)


def main() -> None:
    """Run the tool that the first argument names, with those behind it."""
    tools = package_folder('tools')
    parser = ToolParser(
        prog='klrpn',
        description='KL-RPN for MMDetection. `klrpn COMMAND --help` tells '
        'more of each.',
    )
    commands = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True
    )
    for name, tool in COMMANDS.items():
        text = ast.get_docstring(ast.parse((tools / tool).read_text()))
        help_ = text.partition('\n')[0].rstrip('.')
        commands.add_parser(name, help=help_, add_help=False)
    # A tool parses its options, which have none in common with these.
    command = parser.parse_known_args()[0].command
    sys.argv[:2] = [f'klrpn {command}']
    run_script(tools / COMMANDS[command])


if __name__ == '__main__':
    main()
