"""Detections with their stds as plain numbers, and as files."""

import json
import pickle
import sys

import pytest
import torch
from conftest import run, write_enlarged_config
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mmdet_klrpn.apis.inferencer import DetInferencer


@pytest.fixture(scope='module')
def tiny(tiny_data, tmp_path_factory):
    """A config whose detections have stds, a checkpoint, and an image."""
    folder = tmp_path_factory.mktemp('tiny')
    config = write_enlarged_config(folder / 'tiny.py', tiny_data)
    config.write_text(
        config.read_text()
        + "model['roi_head'] = dict(bbox_head=dict(type='KLVGGBBoxHead'))\n"
        "model['test_cfg'] = dict(rcnn=dict(score_thr=0.0, max_per_img=7))\n"
    )
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    checkpoint = folder / 'checkpoint.pth'
    meta = dict(dataset_meta=dict(classes=('tree',)))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    return config, checkpoint, tiny_data / 'images/1.png'


@pytest.mark.slow
def test_dicts_and_files_have_them(tiny, tmp_path):
    config, checkpoint, image = map(str, tiny)
    inferencer = DetInferencer(config, checkpoint, device='cpu')
    call = dict(no_save_pred=False, no_save_vis=True, out_dir=str(tmp_path))
    (found,) = inferencer(image, **call)['predictions']
    assert len(found['bbox_stds']) == len(found['bboxes']) == 7
    assert all(len(row) == 4 and min(row) > 0 for row in found['bbox_stds'])
    (file,) = (tmp_path / 'preds').iterdir()
    assert json.loads(file.read_text()) == found
    (sample,) = inferencer(image, return_datasamples=True)['predictions']
    stds = sample.pred_instances.bbox_stds
    torch.testing.assert_close(stds, torch.tensor(found['bbox_stds']))


@pytest.mark.slow
def test_a_test_dumps_them(tiny, tmp_path):
    config, checkpoint, _ = tiny
    out = tmp_path / 'out.pkl'
    words = ['--out', out, '--work-dir', tmp_path]
    run(sys.executable, 'tools/test.py', config, checkpoint, *words)
    results = pickle.loads(out.read_bytes())
    for result in results:
        found = result['pred_instances']
        assert found['bbox_stds'].shape == found['bboxes'].shape
    assert sum(len(r['pred_instances']['scores']) for r in results) > 0
