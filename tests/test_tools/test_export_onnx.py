"""Exported models in ONNX Runtime, against PyTorch and mmdet's decoder."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import load_tool, run
from mmdet.apis import init_detector
from mmengine.config import Config

from mmdet_klrpn.deployment import (
    HeadOutputs,
    ImageOutputs,
    check_onnx,
    export_onnx,
    find_kl_rpn,
)
from mmdet_klrpn.models.dense_heads.log_variance import objectness

# requirements/deploy.txt is for the pinned torch, not for the fork's.
onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
tool = load_tool('tools/deployment/export_onnx.py')
CONFIG = """
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
default_scope = 'mmdet'
test_dataloader = dict(dataset=dict())
model = dict(
    type='RPN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.],
        bgr_to_rgb=True, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=4, num_stages=3,
        strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)),
    neck=dict(type='FPN', in_channels=[4, 8, 16], out_channels=6, num_outs=4),
    rpn_head=dict(
        type='KLRPNHead', num_stds={num_stds}, in_channels=6, feat_channels=6,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[.1, .2, .3, .4],
            target_stds=[.5, .6, .7, .8])),
    train_cfg=dict(rpn=dict()),
    test_cfg=dict(rpn=dict(
        nms_pre=50, max_per_img=50, min_bbox_size=0,
        nms=dict(type='nms', iou_threshold=0.7))))
"""


def write_config(path, num_stds=4, **overrides):
    config = Config.fromstring(CONFIG.format(num_stds=num_stds), '.py')
    config.merge_from_dict(overrides)
    config.dump(path)
    return path


def build(config, seed=0):
    """The detector and head of a config, with weights that tell apart."""
    torch.manual_seed(seed)
    model = init_detector(str(config), palette='random', device='cpu')
    detector, head = find_kl_rpn(model)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return detector, head


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )


def assert_equal(path, module, *inputs):
    with torch.no_grad():
        wanted = module(*inputs)
    feed = dict(zip(module.input_names, (x.numpy() for x in inputs)))
    for value, reference in zip(session(path).run(None, feed), wanted):
        torch.testing.assert_close(
            torch.from_numpy(value), reference, rtol=1e-4, atol=1e-5
        )


def shapes(values):
    return {
        value.name: [
            dim.dim_param or dim.dim_value
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in values
    }


@pytest.mark.parametrize('num_stds', [1, 4])
def test_head_at_sizes_that_it_was_not_traced_with(num_stds, tmp_path):
    _, head = build(write_config(tmp_path / 'config.py', num_stds))
    module = HeadOutputs(head)
    path = tmp_path / 'head.onnx'
    export_onnx(module, path)
    for batch, sides in ((1, [1, 1, 1, 1]), (2, [7, 6, 5, 4])):
        maps = [torch.randn(batch, 6, side, 2 * side) for side in sides]
        assert_equal(path, module, *maps)
    assert check_onnx(path, module) < 1e-4
    model = onnx.load(path)
    assert not model.functions
    assert shapes(model.graph.input) == {
        f'features_{i}': ['batch', 6, f'height_{i}', f'width_{i}']
        for i in range(4)
    }
    assert shapes(model.graph.output) == {
        f'{name}_{i}': ['batch', channels, f'height_{i}', f'width_{i}']
        for name, channels in (
            ('log_variances', 3 * num_stds),
            ('offsets', 12),
        )
        for i in range(4)
    }
    # Other weights than those in the file must not pass.
    torch.nn.init.constant_(head.rpn_reg.bias, 5)
    with pytest.raises(AssertionError, match='offsets_0'):
        check_onnx(path, module)


def decode(outputs, image, level, facts):
    """Boxes and scores of a level, in numpy, from the file's metadata."""
    log_var, offsets = (
        outputs[f'{name}_{level}'][image]
        for name in ('log_variances', 'offsets')
    )
    height, width = offsets.shape[1:]
    base = np.array(facts['base_anchors'][level])
    stride_x, stride_y = facts['strides'][level]
    y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
    corner = np.concatenate([x * stride_x, y * stride_y] * 2, 1)
    anchors = corner[:, None] + base
    offsets = offsets.transpose(1, 2, 0).reshape(-1, len(base), 4)
    dx, dy, dw, dh = np.moveaxis(
        offsets * facts['offset_stds'] + facts['offset_means'], 2, 0
    )
    size = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., 2:] + anchors[..., :2]) / 2
    centre = centre + np.stack([dx, dy], 2) * size
    limit = abs(np.log(16 / 1000))
    half = size * np.exp(np.stack([dw, dh], 2).clip(-limit, limit)) / 2
    boxes = np.concatenate([centre - half, centre + half], 2)
    ratio = np.exp(log_var) / facts['neg_std'] ** 2
    score = np.where(ratio < 1, 0.01 + 0.99 * (1 - ratio), 0.01 / ratio)
    score = score.transpose(1, 2, 0).reshape(-1, facts['num_stds']).mean(1)
    return boxes.reshape(-1, 4), score


@pytest.mark.slow
def test_command_exports_images_and_what_decodes_them(tmp_path):
    config = write_config(tmp_path / 'config.py')
    detector, head = build(config)
    checkpoint, path = tmp_path / 'weights.pth', tmp_path / 'new/rpn.onnx'
    torch.save(dict(state_dict=detector.state_dict(), meta={}), checkpoint)
    config = Config.fromfile(config)
    worst = tool.export(config, str(checkpoint), path, from_images=True)
    assert worst < 1e-4

    module = ImageOutputs(detector, head)
    for size in ((1, 3, 33, 45), (3, 3, 64, 32)):
        assert_equal(path, module, torch.randn(size))

    images = torch.randn(2, 3, 70, 90)
    runner = session(path)
    names = [value.name for value in runner.get_outputs()]
    outputs = dict(zip(names, runner.run(None, dict(images=images.numpy()))))
    metadata = runner.get_modelmeta().custom_metadata_map
    facts = json.loads(metadata['kl_rpn'])
    with torch.no_grad():
        logits, offsets = head(detector.extract_feat(images))
    sizes = [x.shape[2:] for x in offsets]
    priors = head.prior_generator.grid_priors(sizes, device='cpu')
    for level in range(4):
        boxes, scores = decode(outputs, 1, level, facts)
        rows = offsets[level][1].permute(1, 2, 0).reshape(-1, 4)
        wanted = head.bbox_coder.decode(priors[level], rows)
        np.testing.assert_allclose(boxes, wanted, rtol=1e-4, atol=1e-3)
        rows = logits[level][1].permute(1, 2, 0).reshape(-1, 4)
        log_var = head.log_variances(rows)
        wanted = objectness(log_var, head.neg_std).mean(1)
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-6)
    assert facts['mean'] == [1, 2, 3]
    assert facts['std'] == [4, 5, 6]
    assert facts['std_scale'] == head.std_scale
    assert facts['bgr_to_rgb'] is True
    assert facts['pad_size_divisor'] == 32


def test_of_two_looks_the_first_is_exported(tmp_path, capsys):
    look = {'model.rpn_head.second_look.num': 5}
    config = Config.fromfile(write_config(tmp_path / 'config.py', 1, **look))
    path = tmp_path / 'head.onnx'
    assert tool.export(config, None, path, from_images=False) < 1e-4
    assert 'the second look is not exported' in capsys.readouterr().err
    metadata = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata['kl_rpn'])['has_second_look'] is True


def test_model_without_the_head_is_refused():
    with pytest.raises(ValueError, match='a Linear proposes no regions'):
        find_kl_rpn(torch.nn.Linear(1, 1))


@pytest.mark.parametrize('missing', ['onnx', 'onnxscript'])
def test_missing_package_is_named(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    out = tmp_path / 'out.onnx'
    message = rf'needs {missing} .*pip install .mmdet_klrpn\[deploy\]'
    with pytest.raises(ImportError, match=message):
        export_onnx(torch.nn.Identity(), out)
    assert not out.exists()


@pytest.mark.slow
def test_command_line_refuses_in_a_line(tmp_path):
    name = 'projects/kl_rpn_study/configs/faster-rcnn_mobilenetv2_24e_trees.py'
    tool, out = 'tools/deployment/export_onnx.py', tmp_path / 'no.onnx'
    # Negated, the command must fail.
    text = run('bash', '-c', f'! {sys.executable} {tool} {name} --out {out}')
    assert 'export_onnx.py: the model has no KLRPNHead: `klrpn con' in text
    assert not out.exists()


def test_neither_config_nor_checkpoint_is_overwritten(tmp_path):
    config = write_config(tmp_path / 'config.py')
    checkpoint = tmp_path / 'model.pth'
    checkpoint.touch()
    for out in (config, checkpoint):
        before = out.read_bytes()
        with pytest.raises(ValueError, match='would overwrite'):
            tool.export(Config.fromfile(config), str(checkpoint), out, False)
        assert out.read_bytes() == before
