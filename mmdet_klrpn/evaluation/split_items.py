"""Images of a config's data sets, loaded as in a test."""

from typing import List, Tuple

from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

from mmdet_klrpn.datasets.leaf_datasets import leaf_datasets

Item = Tuple[BaseDataset, int]


def split_items(config: Config, split: str) -> List[Item]:
    """List each image of a dataloader once, loaded as in a test.

    Args:
        config (Config): The config. It is not changed.
        split (str): 'train' or 'test'. Both go through the test pipeline,
            without augmentation.

    Returns:
        list[tuple[BaseDataset, int]]: Data set and index of each image.
    """
    config = config.copy()
    pipeline = get_test_pipeline_cfg(config)
    items = []
    for leaf in leaf_datasets(config[f'{split}_dataloader'].dataset):
        dataset = DATASETS.build(ConfigDict(leaf, pipeline=pipeline))
        items += [(dataset, index) for index in range(len(dataset))]
    return items
