"""Every link from proposals to detections, measured on its own."""

from .measure import measure_links
from .tables import format_page

__all__ = ['format_page', 'measure_links']
