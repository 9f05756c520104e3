"""The version of the package, in one place for setup.cfg and for users."""

__version__ = '0.1.0'
