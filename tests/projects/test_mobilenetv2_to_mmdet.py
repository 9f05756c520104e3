"""torchvision's MobileNetV2 in mmdet's layout computes the same."""

import mobilenetv2_to_mmdet as converter
import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from torchvision.models import mobilenet_v2


def test_converted_weights_compute_the_same_features(tmp_path):
    torch.manual_seed(0)
    theirs = mobilenet_v2().eval()
    source, out = tmp_path / 'source.pt', tmp_path / 'new' / 'out.pth'
    torch.save(theirs.state_dict(), source)
    converter.convert(out, source)
    ours = MobileNetV2(out_indices=(7,))
    ours.eval()
    ours.load_state_dict(torch.load(out))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image)[0], theirs.features(image))


def test_another_model_is_refused():
    with pytest.raises(ValueError, match='312 tensors, but got 1'):
        converter.convert_state_dict({'features.0': torch.zeros(1)})


def test_another_width_is_refused():
    weights = mobilenet_v2(width_mult=0.5).state_dict()
    with pytest.raises(ValueError, match='not in torchvision layout'):
        converter.convert_state_dict(weights)


def test_the_weights_that_are_read_are_not_overwritten(tmp_path):
    source = tmp_path / 'weights.pth'
    torch.save(mobilenet_v2().state_dict(), source)
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r'weights\.pth would overwrite'):
        converter.convert(source, source)
    assert source.read_bytes() == before
