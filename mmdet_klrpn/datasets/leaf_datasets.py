"""Data sets inside other data sets."""

from typing import Iterator, Union

from mmengine.dataset import BaseDataset


def leaf_datasets(
    dataset: Union[dict, BaseDataset],
) -> Iterator[Union[dict, BaseDataset]]:
    """Yield the data sets inside wrappers that repeat, join or mix them.

    Args:
        dataset (dict | BaseDataset): A data set, a wrapper, or its config.

    Yields:
        dict | BaseDataset: Each data set that is not a wrapper.
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
