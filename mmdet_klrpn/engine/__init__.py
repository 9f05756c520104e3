"""What acts on a running training."""

from .hooks import ResumeSeedHook

__all__ = ['ResumeSeedHook']
