"""What the command lines of the tools have in common."""

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
            'epilog', 'With --debug as well, an error shows its traceback.'
        )
        super().__init__(**kwargs)

    def add_detector(self, **checkpoint) -> None:
        """Take a config and its checkpoint, for :func:`read_config`.

        Args:
            **checkpoint: How ``add_argument`` takes the checkpoint, if it is
                not required.
        """
        checkpoint = checkpoint or dict(help='its trained weights')
        self.add_argument('config', help='config, by its file or its name')
        self.add_argument('checkpoint', **checkpoint)
        self.add_cfg_options()

    def add_device(self) -> None:
        """Take a device, by default the best that there is."""
        self.add_argument(
            '--device', default=get_device(), help='where to run it'
        )

    def add_sample(self) -> None:
        """Take how many proposals and images a calibration looks at."""
        self.add_argument(
            '--top', type=int, default=100, help='best proposals of an image'
        )
        self.add_argument(
            '--images', type=int, default=2000, help='of a split, at most'
        )

    def add_cfg_options(self) -> None:
        """Take changes of the config, as mmdet's tools do."""
        self.add_argument(
            '--cfg-options',
            nargs='+',
            action=DictAction,
            metavar='KEY=VALUE',
            help='settings to change in the config',
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
    """A config by its file or name, with ``--cfg-options`` merged into it.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    config = Config.fromfile(resolve_config(name))
    config.merge_from_dict(options or {})
    return config
