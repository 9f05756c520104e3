"""What a table of results is made of."""

from .columns import COLUMNS, PROPOSAL_OPTIONS

__all__ = ['COLUMNS', 'PROPOSAL_OPTIONS']
