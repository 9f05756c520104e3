"""Box coders."""

from .delta_xywh_stds import decode_delta_xywh_stds

__all__ = ['decode_delta_xywh_stds']
