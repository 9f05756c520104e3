"""Images of a config's data sets, as a test sees them."""

from typing import Iterator, List, Tuple, Union

from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

Item = Tuple[BaseDataset, int]


def split_items(config: Config, split: str) -> List[Item]:
    """Every image of a dataloader's data sets, once, as in a test.

    Args:
        config (Config): The config; it is left as it is.
        split (str): 'train' or 'test'. Both go through the test pipeline,
            without augmentation.

    Returns:
        list[tuple[BaseDataset, int]]: Data set and index of each image.
    """
    config = config.copy()
    pipeline = get_test_pipeline_cfg(config)
    items = []
    for leaf in _leaves(config[f'{split}_dataloader'].dataset):
        dataset = DATASETS.build(ConfigDict(leaf, pipeline=pipeline))
        items += [(dataset, index) for index in range(len(dataset))]
    return items


def _leaves(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Data sets inside of wrappers that repeat, join or mix them."""
    inner: Union[list, tuple] = dataset.get('datasets', ())
    if 'dataset' in dataset:
        inner = [dataset['dataset']]
    if not inner:
        yield dataset
    for part in inner:
        yield from _leaves(part)
