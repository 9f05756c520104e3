"""Data-parallel training by gloo against one process with both images."""

import pytest
import torch
import torch.distributed as dist
from test_kl_rpn_head import ONE, TWO, build_head, features, instances, metas
from torch import nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.slow
BATCHES = {
    'unequal numbers of positives': [TWO, ONE],
    'a rank without objects': [TWO, instances()],
    'no object on any rank': [instances(), instances()],
}


class Loss(nn.Module):
    """The head as DDP wraps it: features and objects in, the total out."""

    def __init__(self):
        super().__init__()
        self.head = build_head(second_look={})

    def forward(self, x, objects):
        losses = self.head.loss_by_feat(
            *self.head(x), objects, metas(len(objects))
        )
        return sum(v for name, v in losses.items() if 'loss' in name)

    def gradients(self):
        return {name: x.grad for name, x in self.named_parameters()}


def train_one_rank(rank, folder):
    """Save the gradients that this rank has of each batch."""
    torch.set_num_threads(1)
    init = dict(init_method=f'file://{folder}/store', rank=rank, world_size=2)
    dist.init_process_group('gloo', **init)
    # Without find_unused_parameters: each must get a gradient on each rank.
    model = DistributedDataParallel(Loss())
    found = {}
    for name, objects in BATCHES.items():
        model.zero_grad()
        x = [level[rank : rank + 1] for level in features(2)]
        model(x, objects[rank : rank + 1]).backward()
        found[name] = model.module.gradients()
    torch.save(found, folder / f'{rank}.pt')


def test_gradients_of_two_processes_are_those_of_one(tmp_path):
    spawn(train_one_rank, (tmp_path,), nprocs=2)
    for name, objects in BATCHES.items():
        alone = Loss()
        alone(features(2), objects).backward()
        for rank in range(2):
            found = torch.load(tmp_path / f'{rank}.pt', weights_only=True)
            for key, value in alone.gradients().items():
                torch.testing.assert_close(
                    found[name][key], value, rtol=1e-4, atol=1e-4
                )
