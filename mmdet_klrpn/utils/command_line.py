"""Command-line options that several tools share."""

import argparse
from typing import Dict, Optional

from mmengine.config import Config, DictAction
from mmengine.device import get_device

from .conversion import resolve_config


class ToolParser(argparse.ArgumentParser):
    """Parser whose help shows defaults, and which options are required."""

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault('formatter_class', _HelpFormatter)
        kwargs.setdefault(
            'epilog', 'Add --debug to see the traceback of an error.'
        )
        super().__init__(**kwargs)

    def add_detector(self, **checkpoint) -> None:
        """Add a config, for :func:`read_config`, and its checkpoint.

        Args:
            **checkpoint: Options of ``add_argument`` for a checkpoint that is
                not required.
        """
        checkpoint = checkpoint or dict(help='trained weights')
        self.add_argument('config', help='config file, or name of a config')
        self.add_argument('checkpoint', **checkpoint)
        self.add_cfg_options()

    def add_device(self) -> None:
        """Add a device, by default a GPU if there is one."""
        self.add_argument(
            '--device', default=get_device(), help='device to run on'
        )

    def add_sample(self) -> None:
        """Add which boxes and images a calibration looks at."""
        self.add_argument(
            '--of',
            choices=('proposals', 'detections'),
            default='proposals',
            help='boxes whose stds to look at',
        )
        self.add_argument(
            '--split',
            choices=('train', 'val'),
            help='images to fit the factor on (default: train for proposals, '
            'val for detections)',
        )
        self.add_argument(
            '--top', type=int, default=100, help='best boxes per image'
        )
        self.add_argument(
            '--images', type=int, default=2000, help='max images per split'
        )

    def add_cfg_options(self) -> None:
        """Add changes to the config, as in mmdet's tools."""
        self.add_argument(
            '--cfg-options',
            nargs='+',
            action=DictAction,
            metavar='KEY=VALUE',
            help='config settings to override',
        )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str:
        if action.option_strings and action.required:
            return f'{action.help} (required)'
        shown = action.option_strings and action.default not in (
            *(None, False, []),
            argparse.SUPPRESS,
        )
        return action.help + ' (default: %(default)s)' * bool(shown)


def read_config(name: str, options: Optional[Dict] = None) -> Config:
    """Load a config by file or name, and merge ``--cfg-options`` into it.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    config = Config.fromfile(resolve_config(name))
    config.merge_from_dict(options or {})
    return config
