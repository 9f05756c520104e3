"""Hooks of mmengine's runner."""

from .resume_seed_hook import ResumeSeedHook

__all__ = ['ResumeSeedHook']
