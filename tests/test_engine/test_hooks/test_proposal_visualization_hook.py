"""Pictures of the first stage in tiny validations."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_klrpn.engine import ProposalVisualizationHook
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


def test_only_the_first_rank_draws(monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    hook = ProposalVisualizationHook()
    hook.before_val_epoch(None)
    # It would fail on the runner that there is not.
    hook.after_val_iter(None, 0, {}, [])


def test_tensorboard_gets_the_picture(runner, tmp_path, monkeypatch):
    pytest.importorskip('tensorboard')
    from mmengine.visualization import TensorboardVisBackend
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    backend = TensorboardVisBackend(str(tmp_path))
    monkeypatch.setattr(runner.visualizer, '_vis_backends', {'tb': backend})
    validate(runner, [7], num_images=2)
    backend.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()['images'] == ['proposals_1', 'proposals_2']
    (event,) = events.Images('proposals_1')
    assert event.step == 7
    data = np.frombuffer(event.encoded_image_string, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture.shape[1] == round(WIDTH * 80)
    assert picture.std() > 30
