"""The dilated last stages of MobileNetV2."""

import torch
from mmdet.models.backbones import MobileNetV2

from mmdet_klrpn.models import MobileNetV2Layer


def test_checkpoint_of_the_backbone_initialises_it(tmp_path):
    torch.manual_seed(0)
    state = MobileNetV2().state_dict()
    torch.save(state, tmp_path / 'mobilenetv2.pth')
    layer = MobileNetV2Layer(
        init_cfg=dict(
            type='Pretrained', checkpoint=str(tmp_path / 'mobilenetv2.pth')
        )
    )
    layer.init_weights()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_every_second_cell_is_that_of_the_strided_stages():
    """What dilation is for: the same filters on a map twice as fine."""
    torch.manual_seed(0)
    backbone = MobileNetV2()
    backbone.eval()  # which returns nothing
    layer = MobileNetV2Layer().eval()
    layer.load_state_dict(backbone.state_dict(), strict=False)
    x = torch.randn(1, 96, 24, 24)
    with torch.no_grad():
        fine = layer(x)
        coarse = backbone.layer7(backbone.layer6(x))
    assert fine.shape == (1, 320, 24, 24)
    assert coarse.shape == (1, 320, 12, 12)
    # The borders' padding differs on the right and below.
    torch.testing.assert_close(
        fine[..., ::2, ::2], coarse, atol=1e-4, rtol=1e-4
    )


def test_normalisations_keep_their_statistics():
    layer = MobileNetV2Layer().train()
    before = {n: b.clone() for n, b in layer.named_buffers()}
    layer(torch.randn(2, 96, 8, 8)).sum().backward()
    for name, buffer in layer.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert all(p.grad is not None for p in layer.parameters())
