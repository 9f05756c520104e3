"""Classes that no annotation file of a training set has are named."""

import json
import re

import pytest
from mmdet.datasets import BaseVideoDataset
from mmdet.registry import DATASETS, RUNNERS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmdet_klrpn.datasets import training_classes
from mmdet_klrpn.datasets.training_classes import check_training_classes


@pytest.fixture
def coco(tmp_path):
    """Config of a data set of these classes, whose file has others."""

    def make(classes, categories, **kwargs):
        path = tmp_path / f'{"-".join(categories)}.json'
        image = dict(id=1, file_name='1.png', width=9, height=9)
        box = dict(id=1, image_id=1, bbox=[0, 0, 4, 4], area=16)
        content = dict(
            images=[image],
            annotations=[dict(box, category_id=0)],
            categories=[dict(id=i, name=n) for i, n in enumerate(categories)],
        )
        path.write_text(json.dumps(content))
        config = dict(
            type='CocoDataset',
            ann_file=str(path),
            data_prefix=dict(img=''),
            metainfo=dict(classes=classes),
        )
        return {**config, **kwargs}

    return make


@pytest.fixture
def voc(tmp_path):
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'Annotations/1.xml').write_text(
        '<annotation><size><width>9</width><height>9</height></size>'
        '</annotation>'
    )
    (tmp_path / 'list.txt').write_text('1\n')
    return dict(
        type='XMLDataset',
        data_root=str(tmp_path),
        ann_file='list.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=('tree', 'none-such'), palette=None),
    )


def build(config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(config)


def check(config):
    check_training_classes(build(config))


def wrapped(kind, part):
    if kind == 'MultiImageMixDataset':
        return dict(type=kind, dataset=part, pipeline=[])
    if kind == 'RepeatDataset':
        return dict(type=kind, dataset=part, times=2)
    if kind == 'ClassBalancedDataset':
        return dict(type=kind, dataset=part, oversample_thr=0.1)
    return dict(type=kind, datasets=[part, part])


@pytest.mark.parametrize(
    'kinds',
    [
        [],
        ['RepeatDataset'],
        ['ConcatDataset'],
        ['MultiImageMixDataset'],
        ['ConcatDataset', 'ClassBalancedDataset'],
        ['MultiImageMixDataset', 'ConcatDataset', 'RepeatDataset'],
    ],
)
def test_a_typo_is_named_inside_of_any_wrapper(kinds, coco, tmp_path):
    config = coco(('bush', 'treee'), ('tree', 'rock', 'bush'))
    for kind in reversed(kinds):
        config = wrapped(kind, config)
    message = (
        "train_dataloader: no annotation file has the classes 'treee' (did "
        'you mean tree?), which would be trained without an object. The '
        f"categories in '{tmp_path}/tree-rock-bush.json' are "
        "'tree', 'rock', 'bush'. Set metainfo=dict(classes=...) of the data "
        'sets to names that the files have, and num_classes of the heads to '
        'their number'
    )
    for given in (config, build(config)):
        with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
            check_training_classes(given)


def test_a_class_of_another_part_is_there(coco):
    classes = ('tree', 'bush')
    parts = [coco(classes, ('tree',)), coco(classes, ('rock', 'bush'))]
    check(dict(type='ConcatDataset', datasets=parts))
    with pytest.raises(ValueError, match="has the classes 'tree', which"):
        check(dict(type='RepeatDataset', dataset=parts[1], times=2))


def test_classes_that_differ_by_part(coco):
    parts = [coco(('tree',), ('tree',)), coco(('bush',), ('rock', 'treee'))]
    joined = dict(type='ConcatDataset', datasets=parts)
    joined['ignore_keys'] = ['classes']
    with pytest.raises(ValueError, match="has the classes 'bush', which"):
        check(joined)


def test_all_classes_of_coco_for_a_file_of_others(coco):
    """As where metainfo is forgotten; images without objects are dropped."""
    config = coco((), ('plant',), filter_cfg=dict(filter_empty_gt=True))
    del config['metainfo']
    with pytest.raises(ValueError, match=r"'person', 'bicycle', .* 70 more"):
        check_training_classes(config)


def test_a_video_data_set(coco):
    config = coco('tre', ('tree',))
    del config['type']
    with pytest.raises(ValueError, match=r"'tre' \(did you mean tree\?\)"):
        check_training_classes(BaseVideoDataset(**config))


@pytest.mark.parametrize('order', [1, -1])
def test_a_data_set_without_categories_is_not_looked_at(order, coco, voc):
    check(voc)
    check_training_classes([1, 2, 3])
    other = coco(('tree', 'none-such'), ('tree',))
    other['metainfo'] = voc['metainfo']
    parts = [voc, other]
    check(dict(type='ConcatDataset', datasets=parts[::order]))


def test_a_file_with_all_classes_is_read_once(coco, monkeypatch):
    monkeypatch.setattr(training_classes, 'load', None)
    check(coco(('bush', 'tree'), ('tree', 'rock', 'bush')))
    check(coco('tree', ('tree',)))


@pytest.mark.parametrize('loop', ['max_epochs', 'max_iters'])
def test_the_runner_stops_before_the_training(loop, tiny_config, tmp_path):
    config = Config.fromfile(tiny_config)
    config.work_dir = str(tmp_path)
    config.runner_type = 'CheckpointRunner'
    config.experiment_name = f'{tmp_path}'
    config.train_cfg = dict(by_epoch=loop == 'max_epochs', **{loop: 1})
    config.train_dataloader.dataset.metainfo.classes = ('Tree',)
    runner = RUNNERS.build(config)
    with pytest.raises(ValueError, match=r"'Tree' \(did you mean tree\?\)"):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))
