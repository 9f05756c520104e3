"""Data sets inside of other data sets."""

from typing import Iterator, Union

from mmengine.dataset import BaseDataset


def leaf_datasets(
    dataset: Union[dict, BaseDataset],
) -> Iterator[Union[dict, BaseDataset]]:
    """Look into wrappers that repeat, join or mix data sets.

    Args:
        dataset (dict | BaseDataset): A data set or a wrapper of some, or its
            config.

    Yields:
        dict | BaseDataset: Each that is no wrapper, of the same kind.
    """
    is_config = isinstance(dataset, dict)
    fields = dataset if is_config else getattr(dataset, '__dict__', {})
    inner = fields.get('datasets', [])
    if 'dataset' in fields:
        inner = [fields['dataset']]
    if not inner:
        yield dataset
    for part in inner:
        yield from leaf_datasets(part)
