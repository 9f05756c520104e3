"""Pictures of the first stage in tiny validations."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_klrpn.engine import ProposalVisualizationHook
from mmdet_klrpn.engine.hooks import proposal_visualization_hook
from mmdet_klrpn.visualization.overview import WIDTH


@pytest.fixture(scope='module')
def runner(tiny_config, tmp_path_factory):
    """Of a small detector that validates in batches of three images."""
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path_factory.mktemp('work'))
    cfg.log_level = logging.ERROR
    cfg.experiment_name = cfg.visualizer.name = 'test_visualization'
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.model.test_cfg.rpn.max_per_img = 20
    cfg.val_dataloader.batch_size = 3
    pipeline = cfg.val_dataloader.dataset.pipeline
    (resize,) = (step for step in pipeline if step.type == 'Resize')
    resize.scale = (96, 96)
    cfg.custom_hooks = [dict(type='ProposalVisualizationHook')]
    return Runner.from_cfg(cfg)


def validate(runner, iterations, **options):
    """Validate at some iterations, with a new hook; the last's metrics."""
    hooks = [
        hook
        for hook in runner.hooks
        if not isinstance(hook, ProposalVisualizationHook)
    ]
    assert len(hooks) == len(runner.hooks) - 1
    runner._hooks = hooks
    runner.register_hook(ProposalVisualizationHook(**options))
    for iteration in iterations:
        runner.train_loop._iter = iteration
        metrics = runner.val()
    return metrics


def pictures(runner):
    folder = Path(runner.visualizer.get_backend('LocalVisBackend')._save_dir)
    return {path.name: path for path in folder.glob('vis_image/*.png')}


def test_draws_the_first_images_of_every_other_validation(runner):
    before = pictures(runner)
    validate(runner, (10, 20), interval=2, num_images=4)
    drawn = pictures(runner)
    assert sorted(drawn.keys() - before) == [
        f'proposals_{image}_10.png' for image in (1, 2, 3, 4)
    ]
    picture = cv2.imread(str(drawn['proposals_1_10.png']))
    assert picture.shape[1] == round(WIDTH * 80)
    # Yellow frames of the ground truth, at the left.
    left = picture[:, : picture.shape[1] // 2].astype(int)
    assert (np.abs(left - (0, 255, 255)).max(axis=2) < 40).sum() > 100


def test_zero_means_never_and_pictures_change_nothing(runner):
    before = pictures(runner)
    torch.manual_seed(0)
    plain = validate(runner, [40], interval=0)
    random = torch.get_rng_state()
    assert pictures(runner) == before
    state = runner.model.state_dict()
    state = {name: value.clone() for name, value in state.items()}
    torch.manual_seed(0)
    assert validate(runner, [50], num_images=1) == plain
    assert pictures(runner).keys() - before == {'proposals_1_50.png'}
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, state[name])


def batch_of(images):
    """What a data loader gives of grey images.

    Args:
        images (list[dict]): Meta information of each beside its shapes.
    """
    shapes = dict(
        ori_shape=(48, 96), img_shape=(48, 96), scale_factor=(1.0, 1.0)
    )
    return dict(
        inputs=[torch.full((3, 48, 96), 90, dtype=torch.uint8)] * len(images),
        data_samples=[DetDataSample(metainfo={**shapes, **i}) for i in images],
    )


def draw(runner, images, validations=1, **options):
    """Draw images in batches of two; the names of the new pictures."""
    before = pictures(runner)
    hook = ProposalVisualizationHook(num_images=len(images), **options)
    runner.model.eval()
    for iteration in range(validations):
        runner.train_loop._iter = iteration
        hook.before_val_epoch(runner)
        for i in range(0, len(images), 2):
            hook.after_val_iter(runner, i, batch_of(images[i : i + 2]), [])
    return sorted(pictures(runner).keys() - before.keys())


def test_no_picture_overwrites_another(runner, monkeypatch):
    monkeypatch.setattr(
        *(proposal_visualization_hook, 'draw_overview'),
        lambda *_: Figure(figsize=(1, 1)),  # the names matter, not the pixels
    )
    paths = ['a/u.jpg', 'b/u.png', 'b/u.jpg', 'v w.jpg', 'v%w.jpg', 'v_w.jpg']
    paths += ['c/' + 'x' * 255, 'd/' + 'x' * 255, 's3://ü/é.jpg', '日本.jpg']
    images = [dict(img_path=path) for path in [*paths, paths[0], './a/u.jpg']]
    # Of images that are in no file.
    images += [dict(img_id=70), dict(img_id=71, img_path=None), {}, {}]
    drawn = draw(runner, images, validations=2)
    assert len(drawn) == 2 * len(images)
    # The same images have the same names.
    first, second = (
        {name[: -len(end)] for name in drawn if name.endswith(end)}
        for end in ('_0.png', '_1.png')
    )
    assert first == second
    names = {'u', 'u.png', 'b_u.jpg', 'v_w', '日本', '70', '71'}
    assert {f'proposals_{name}' for name in names} <= first


def test_pictures_show_what_the_network_gets(runner):
    # No such file is there to be read.
    image = dict(img_path='lmdb/of/images/grey.jpg')
    (name,) = draw(runner, [image], top=1)
    image = cv2.imread(str(pictures(runner)[name]))
    assert (image == 90).all(axis=2).mean() > 0.1


@pytest.mark.parametrize('shape', [(1, 1), (20, 4000), (4000, 20)])
def test_any_size_is_drawn(runner, shape):
    sample = DetDataSample(
        metainfo=dict(
            img_id=0, ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0)
        )
    )
    inputs = torch.randint(256, (3, *shape), dtype=torch.uint8)
    hook = ProposalVisualizationHook()
    hook.before_val_epoch(runner)
    runner.train_loop._iter = shape[0]
    before = pictures(runner)
    batch = dict(inputs=[inputs], data_samples=[sample])
    hook.after_val_iter(runner, 0, batch, [])
    (name,) = pictures(runner).keys() - before.keys()
    picture = cv2.imread(str(pictures(runner)[name]))
    assert picture.shape[1] == round(WIDTH * 80)
    assert picture.std() > 10


def test_only_the_first_rank_draws(monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    hook = ProposalVisualizationHook()
    hook.before_val_epoch(None)
    # It would fail on the runner that there is not.
    hook.after_val_iter(None, 0, {}, [])


@pytest.fixture
def events(runner, tmp_path, monkeypatch):
    """What TensorBoard reads once it is called."""
    pytest.importorskip('tensorboard')
    from mmengine.visualization import TensorboardVisBackend
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    backend = TensorboardVisBackend(str(tmp_path))
    monkeypatch.setattr(runner.visualizer, '_vis_backends', {'tb': backend})

    def read():
        backend.close()
        return EventAccumulator(str(tmp_path)).Reload()

    return read


def test_tensorboard_gets_the_picture(runner, events):
    validate(runner, [7], num_images=2)
    events = events()
    assert events.Tags()['images'] == ['proposals_1', 'proposals_2']
    (event,) = events.Images('proposals_1')
    assert event.step == 7
    data = np.frombuffer(event.encoded_image_string, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture.shape[1] == round(WIDTH * 80)
    assert picture.std() > 30


def test_tensorboard_keeps_images_of_similar_names_apart(runner, events):
    hook = ProposalVisualizationHook()
    hook.before_val_epoch(runner)
    paths = ['a/1.jpg', 'b/1.jpg', 'c d.jpg', 'c%d.jpg']
    images = [dict(img_path=path) for path in paths]
    hook.after_val_iter(runner, 0, batch_of(images), [])
    assert len(events().Tags()['images']) == 4
