"""KL-RPN for MMDetection: importing this package registers its modules."""

from . import engine, evaluation, models, visualization
from .version import __version__

__all__ = ['__version__', 'engine', 'evaluation', 'models', 'visualization']
