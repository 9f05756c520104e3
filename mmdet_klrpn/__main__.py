"""The command klrpn, or python -m mmdet_klrpn, which runs the tools."""

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
    """Run the tool that the first argument names, with the others."""
    tools = package_folder('tools')
    lines = ['Commands (see `klrpn COMMAND --help`):', '']
    for name, tool in COMMANDS.items():
        text = ast.get_docstring(ast.parse((tools / tool).read_text()))
        lines.append(f'  {name:<12} {text.splitlines()[0].rstrip(".")}')
    parser = ToolParser(
        prog='klrpn',
        usage='klrpn COMMAND ...',
        description='KL-RPN for MMDetection. Add --debug to a command to see '
        'the traceback\nof an error.',
        epilog='\n'.join(lines),
    )
    parser.add_argument(
        'command',
        choices=COMMANDS,
        metavar='COMMAND',
        help='one of those below',
    )
    command = parser.parse_args(sys.argv[1:2]).command
    sys.argv[:2] = [f'klrpn {command}']
    run_script(tools / COMMANDS[command])


if __name__ == '__main__':
    main()
