"""Names of a data set's classes."""

from typing import List, Sequence, Union

from mmdet_klrpn.utils.errors import suggest


def class_names(metainfo: Union[dict, Sequence[dict], None]) -> List[str]:
    """Classes that a data set's meta information names, each once.

    Args:
        metainfo (dict | Sequence[dict], optional): Meta information of a data
            set, or of each part of a ConcatDataset.

    Returns:
        list[str]: The names; empty if there are none.
    """
    parts = [metainfo] if isinstance(metainfo, dict) else metainfo or []
    names: List[str] = []
    for part in parts:
        classes = part.get('classes') or ()
        names += [classes] if isinstance(classes, str) else classes
    return list(dict.fromkeys(names))


def quote_names(
    names: Sequence[str], most: int = 10, known: Sequence[str] = ()
) -> str:
    """Quote the first names, with near known ones, and count the rest."""
    shown = (f'{name!r}{suggest(name, known)}' for name in names[:most])
    text = ', '.join(shown)
    rest = len(names) - most
    return f'{text} and {rest} more' if rest > 0 else text
