"""Checks of options."""


def check(name: str, value: object, valid: bool, allowed: str) -> None:
    """Raise a ValueError that names the option, its value and the remedy.

    Args:
        name (str): Name of the option.
        value (object): What it was set to.
        valid (bool): Whether it may be.
        allowed (str): What may follow "must be".

    Raises:
        ValueError: If it is not valid.
    """
    if not valid:
        raise ValueError(f'{name} must be {allowed}, but got {value!r}')
