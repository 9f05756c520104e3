"""torchvision's MobileNetV2 in mmdet's layout computes the same."""

import mobilenetv2_to_mmdet as converter
import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from torchvision.models import mobilenet_v2


def test_converted_weights_compute_the_same_features(tmp_path):
    torch.manual_seed(0)
    theirs = mobilenet_v2().eval()
    # What is there is not fetched.
    torch.save(theirs.state_dict(), tmp_path / 'out_torchvision.pt')
    out = tmp_path / 'out.pth'
    converter.convert(out)
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
