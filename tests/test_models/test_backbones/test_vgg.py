"""VGG against torchvision's, whose layout it shares."""

import pytest
import torch
from torch.nn import BatchNorm2d
from torchvision.models.vgg import cfgs, make_layers

from mmdet_klrpn.models import VGG


def torchvision_features(with_bn=False):
    """The convolutions of torchvision's VGG-16, normalisations not trivial."""
    torch.manual_seed(0)
    features = make_layers(cfgs['D'], batch_norm=with_bn).eval()
    for module in features:
        if isinstance(module, BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    return features


@pytest.mark.parametrize('with_bn', [False, True])
def test_ends_at_conv5_3_of_torchvision(with_bn):
    features = torchvision_features(with_bn)
    vgg = VGG(with_bn=with_bn).eval()
    state = {f'features.{k}': v for k, v in features.state_dict().items()}
    vgg.load_state_dict(state)

    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        (out,) = vgg(x)
        expected = features[:-1](x)  # without the last pooling
    assert out.shape == (2, 512, 4, 6)
    torch.testing.assert_close(out, expected)


def test_checkpoint_of_torchvision_initialises(tmp_path):
    features = torchvision_features()
    path = tmp_path / 'vgg16.pth'
    state = {f'features.{k}': v for k, v in features.state_dict().items()}
    torch.save(state, path)
    vgg = VGG(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    vgg.init_weights()
    for name, value in vgg.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_first_two_stages_are_frozen_before_any_call_of_train():
    vgg = VGG()
    frozen = {n for n, p in vgg.named_parameters() if not p.requires_grad}
    # conv1_1, conv1_2, conv2_1 and conv2_2.
    expected = {
        f'features.{i}.{kind}'
        for i in (0, 2, 5, 7)
        for kind in ('weight', 'bias')
    }
    assert frozen == expected
    vgg.train()
    assert frozen == {
        n for n, p in vgg.named_parameters() if not p.requires_grad
    }
    vgg(torch.randn(1, 3, 32, 32))[0].sum().backward()
    for name, parameter in vgg.named_parameters():
        assert (parameter.grad is None) == (name in frozen)


@pytest.mark.parametrize('kept', [True, False])
def test_normalisations_are_kept_or_trained(kept):
    vgg = VGG(
        depth=11,
        with_bn=True,
        frozen_stages=0,
        bn_eval=kept,
        bn_frozen=kept,
    ).train()
    before = [
        m.running_mean.clone()
        for m in vgg.modules()
        if isinstance(m, BatchNorm2d)
    ]
    vgg(torch.randn(2, 3, 32, 32))
    norms = [m for m in vgg.modules() if isinstance(m, BatchNorm2d)]
    assert len(norms) == 8
    for norm, mean in zip(norms, before):
        assert torch.equal(norm.running_mean, mean) == kept
        assert norm.weight.requires_grad == (not kept)


def test_stages_have_their_strides():
    outs = VGG(depth=11, out_indices=(0, 1, 2, 3, 4))(
        torch.zeros(1, 3, 64, 64)
    )
    assert [64 // out.shape[-1] for out in outs] == [2, 4, 8, 16, 16]


def test_mode_can_be_set_in_a_chain():
    vgg = VGG(depth=11)
    assert vgg.eval() is vgg
    assert vgg.train() is vgg
