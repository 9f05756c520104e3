"""Trainings that stop and go on against those that do not."""

import random

import numpy as np
import pytest
import torch
from conftest import load_checkpoint
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdet_klrpn.engine import ResumeSeedHook


class RandomDataset(Dataset):
    """Numbers of each of the generators that a pipeline may draw from."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        drawn = [random.random(), np.random.rand(), torch.rand(1).item()]
        return torch.tensor([index, *drawn])


class RandomModel(BaseModel):
    """A weight that remembers, to the last bit, what it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.seen = []

    def forward(self, *inputs, mode):
        inputs = torch.stack(inputs)
        self.seen.append(inputs)
        noise = torch.rand(4) + random.random() + np.random.rand()
        return dict(loss=((inputs.mean(0) - self.weight + noise) ** 2).sum())


HOOK = ('ResumeSeedHook',)


def train(work_dir, workers, loop, end, resume=None, hooks=HOOK, seed=3):
    """Train up to an epoch or iteration; what was seen, and the weight."""
    by_epoch = loop == 'epoch'
    saving = dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)
    loaders = dict(num_workers=workers % 10, batch_size=2)
    if workers:
        loaders['persistent_workers'] = workers > 10
    kind = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    ending = dict(max_epochs=end) if by_epoch else dict(max_iters=end)
    model = RandomModel()
    runner = Runner(
        model,
        str(work_dir),
        train_dataloader=dict(
            dataset=RandomDataset(),
            sampler=dict(type=kind, shuffle=True),
            **loaders,
        ),
        train_cfg=dict(by_epoch=by_epoch, **ending),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        ),
        default_hooks=dict(checkpoint=saving),
        custom_hooks=[dict(type=name) for name in hooks],
        randomness=dict(seed=seed),
        load_from=resume,
        resume=resume is not None,
        log_level='WARNING',
        default_scope='mmdet',
        experiment_name=str(work_dir),
    )
    random.seed(end)  # Processes differ in what they drew before.
    np.random.seed(end)
    torch.manual_seed(end)
    runner.train()
    return model.seen, model.weight.detach()


# 2 workers, and 12 for 2 persistent ones.
@pytest.mark.parametrize('workers', [0, 2, 12])
@pytest.mark.parametrize(
    ('loop', 'stop', 'end'), [('epoch', 2, 3), ('iteration', 4, 8)]
)
def test_a_resumed_training_sees_and_ends_as_an_unbroken_one(
    workers, loop, stop, end, tmp_path
):
    seen, weight = train(tmp_path / 'whole', workers, loop, end)
    name = 'epoch' if loop == 'epoch' else 'iter'
    checkpoint = str(tmp_path / 'whole' / f'{name}_{stop}.pth')
    rest, resumed = train(tmp_path / 'rest', workers, loop, end, checkpoint)
    assert 0 < len(rest) < len(seen)
    for one, other in zip(seen[-len(rest) :], rest):
        assert torch.equal(one, other)
    assert torch.equal(weight, resumed)


def test_the_moving_average_of_the_weights_goes_on_too(tmp_path):
    args, hooks = (0, 'epoch', 2), (*HOOK, 'EMAHook')
    train(tmp_path / 'whole', *args, hooks=hooks)
    checkpoint = str(tmp_path / 'whole' / 'epoch_1.pth')
    train(tmp_path / 'rest', *args, checkpoint, hooks=hooks)
    one, other = (
        load_checkpoint(tmp_path / name / 'epoch_2.pth')
        for name in ('whole', 'rest')
    )
    for name in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    assert one['state_dict']['weight'].any()


def test_without_it_they_differ(tmp_path):
    """Else the test above would show nothing."""
    args = (0, 'epoch', 2)
    _, weight = train(tmp_path / 'whole', *args, hooks=())
    checkpoint = str(tmp_path / 'whole' / 'epoch_1.pth')
    _, resumed = train(tmp_path / 'rest', *args, checkpoint, hooks=())
    assert not torch.equal(weight, resumed)


@pytest.mark.parametrize('workers', [0, 2, 12])
def test_every_epoch_and_worker_draws_its_own(workers, tmp_path):
    seen, _ = train(tmp_path, workers, 'epoch', 3)
    drawn = torch.cat(seen)[:, 1:]
    assert len(drawn) == 3 * 6
    for generator in drawn.T:
        assert len(generator.unique()) == len(generator)


def test_seeds_and_ranks_draw_their_own(tmp_path, monkeypatch):
    first, _ = train(tmp_path / '0', 0, 'epoch', 1)
    seed, _ = train(tmp_path / '1', 0, 'epoch', 1, seed=4)
    module = 'mmdet_klrpn.engine.hooks.resume_seed_hook'
    monkeypatch.setattr(f'{module}.get_rank', lambda: 1)
    rank, _ = train(tmp_path / '2', 0, 'epoch', 1)
    drawn = torch.cat(first + seed + rank)[:, 1:]
    assert len(drawn.unique()) == drawn.numel()


def test_a_seeding_of_one_s_own_is_kept(tmp_path):
    """Called for each worker, once an epoch, however many epochs."""
    calls = tmp_path / 'calls'
    loader = torch.utils.data.DataLoader(
        RandomDataset(),
        num_workers=1,
        worker_init_fn=lambda worker: calls.open('a').write(f'{worker} '),
    )

    class FakeRunner:
        seed = 0
        epoch = 0
        train_loop = type('Loop', (), dict(dataloader=loader))

    for FakeRunner.epoch in range(3):
        ResumeSeedHook().before_train_epoch(FakeRunner)
        list(loader)
    assert calls.read_text() == '0 0 0 '
