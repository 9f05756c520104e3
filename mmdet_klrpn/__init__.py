"""KL-RPN for MMDetection: importing this package registers its modules."""

from . import evaluation, models
from .version import __version__

__all__ = ['__version__', 'evaluation', 'models']
