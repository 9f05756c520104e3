"""Check that annotations have each class of a training set."""

from typing import List, Union

from mmdet.datasets import BaseVideoDataset, CocoDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.fileio import load

from .class_names import class_names, quote_names
from .leaf_datasets import leaf_datasets


def check_training_classes(dataset: Union[dict, BaseDataset]) -> None:
    """Raise an error if no annotation file has a class of a training set.

    mmdet would train without that class and renumber the following ones. Data
    sets without COCO annotations are not checked, nor are data sets that are
    joined with them.

    Args:
        dataset (dict | BaseDataset): A data set or wrapper, fully initialised,
            or its config.

    Raises:
        ValueError: If a class is missing.
    """
    parts = [
        DATASETS.build({**part, 'lazy_init': True})
        if isinstance(part, dict)
        else part
        for part in leaf_datasets(dataset)
    ]
    if not all(_is_coco(part) for part in parts):
        return
    missing = class_names([part.metainfo for part in parts])
    categories: List[str] = []
    for part in sorted(parts, key=_may_lack_a_class):
        if not missing:
            return  # without reading the files of further parts once more
        found = class_names(part.metainfo)
        if _may_lack_a_class(part):
            found = _categories(part)
        categories += found
        missing = [name for name in missing if name not in found]
    if missing:
        raise ValueError(_describe(missing, categories, parts))


def _is_coco(dataset: BaseDataset) -> bool:
    if not isinstance(dataset, (CocoDataset, BaseVideoDataset)):
        return False
    # A subclass may read files of its own, without categories.
    return hasattr(dataset, 'cat_ids') or not dataset._fully_initialized


def _may_lack_a_class(dataset: CocoDataset) -> bool:
    """Whether fewer categories than classes were found, if any."""
    found = getattr(dataset, 'cat_ids', ())
    return len(found) != len(class_names(dataset.metainfo))


def _categories(dataset: CocoDataset) -> List[str]:
    """Names of the categories in a data set's annotation file."""
    content = load(
        dataset.ann_file,
        file_format='json',
        backend_args=dataset.backend_args,
    )
    return [category['name'] for category in content['categories']]


def _describe(
    missing: List[str], categories: List[str], parts: List[CocoDataset]
) -> str:
    categories = list(dict.fromkeys(categories))
    files = list(dict.fromkeys(str(part.ann_file) for part in parts))
    return (
        f'train_dataloader: no annotation file has the classes '
        f'{quote_names(missing, known=categories)}, which would be trained '
        f'without an object. The categories in {quote_names(files, 3)} are '
        f'{quote_names(categories)}. Set metainfo=dict(classes=...) of the '
        'data sets to names that the files have, and num_classes of the heads '
        'to their number'
    )
