"""The tools that fit the stds' factor, and show what it does."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, load_tool, run, write_enlarged_config
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmdet_klrpn.apis import propose
from mmdet_klrpn.datasets.leaf_datasets import leaf_datasets
from mmdet_klrpn.evaluation import FirstStageErrors, SecondStageErrors
from mmdet_klrpn.evaluation.functional import (
    fit_std_scale,
    objectness_calibration,
    std_calibration,
)

NUM = 100  # proposals of an image

recalibrate = load_tool('tools/analysis_tools/recalibrate.py')
calibration = load_tool('tools/analysis_tools/calibration.py')


def cells_of(line):
    return [cell.strip() for cell in line.split('|')] if line else ['', '']


@pytest.fixture(scope='module')
def tiny(tiny_data, tmp_path_factory):
    """A config, and a checkpoint whose proposals are little but anchors."""
    folder = tmp_path_factory.mktemp('tiny')
    config = write_enlarged_config(folder / 'tiny.py', tiny_data)
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    # For stds that differ.
    torch.nn.init.normal_(model.rpn_head.rpn_cls.weight, std=0.3)
    checkpoint = folder / 'checkpoint.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='module')
def recalibrated(tiny):
    """What the command line printed, and the config that it wrote."""
    out = tiny[0].parent / 'new' / 'recalibrated.py'
    text = run(
        *(sys.executable, 'tools/analysis_tools/recalibrate.py', *tiny),
        *('--out', out, '--top', NUM),
    )
    return text, out


@pytest.fixture(scope='module')
def stages(recalibrated, tiny):
    """The first stage before and after."""
    config, checkpoint = tiny
    return tuple(
        FirstStageErrors(str(path), checkpoint)
        for path in (config, recalibrated[1])
    )


@pytest.mark.slow
def test_config_reloads_and_scales_the_stds_alone(recalibrated, stages, tiny):
    text, out = recalibrated
    before, after = stages
    scale = after.config.model.rpn_head.std_scale
    assert out.read_text().endswith(
        f"tiny.py'\nmodel = dict(rpn_head=dict(std_scale={scale}))\n"
    )
    assert f'{out}: std_scale={scale}, of ' in text
    given = Config.fromfile(tiny[0])
    given.model.rpn_head.std_scale = scale
    assert after.config.model == given.model

    dataset, index = before.items('train')[0]
    batch = pseudo_collate([dataset[index]])
    old, new = (propose(x.model, batch)[0].proposals for x in stages)
    factor = scale / before.model.rpn_head.std_scale
    assert factor != pytest.approx(1, abs=0.01)
    torch.testing.assert_close(new.bbox_stds, factor * old.bbox_stds)
    assert torch.equal(new.bboxes, old.bboxes)
    assert torch.equal(new.scores, old.scores)


@pytest.mark.slow
def test_factor_is_fitted_on_the_training_images(recalibrated, stages, tiny):
    before, after = stages
    scale = after.config.model.rpn_head.std_scale
    train = before.errors('train', NUM, 100)
    assert len(train.scores) <= 7 * NUM  # not the image without an object
    assert 0 < len(train.errors) == train.hits.sum()
    factor = fit_std_scale(train.errors, train.stds)
    given = before.model.rpn_head.std_scale
    assert scale == pytest.approx(given * factor, rel=1e-3)
    # Nothing is left to fit.
    assert fit_std_scale(*after.errors('train', NUM, 100)[2:4]) == (
        pytest.approx(1, rel=1e-3)
    )


@pytest.mark.slow
def test_errors_are_those_of_the_rpn_detector_alone(stages, tiny):
    """Test images, of which the last is without an object; of the best."""
    config, checkpoint = tiny
    rpn = config.with_name('rpn.py')
    rpn.write_text("_base_ = 'tiny.py'\nmodel = dict(type='RPN')\n")
    alone = FirstStageErrors(str(rpn), checkpoint)
    (ours, theirs) = (
        stage.errors('test', NUM, 3) for stage in (stages[0], alone)
    )
    for name, value in ours._asdict().items():
        np.testing.assert_allclose(value, getattr(theirs, name), err_msg=name)
    assert len(ours.scores) > NUM
    assert not ours.hits[-1].any()


@pytest.mark.slow
def test_table_has_the_figures_before_and_after(
    stages, tiny, tmp_path, monkeypatch, capsys
):
    config, checkpoint = map(str, tiny)
    # Two seeds, were they not the same, and an ordinary RPN.
    rpn = tmp_path / 'rpn.py'
    rpn.write_text(
        f"_base_ = '{config}'\n"
        "model = dict(rpn_head=dict(type='SparseRPNHead'))\n"
    )
    untrained = str(tmp_path / 'untrained.pth')
    model = MODELS.build(Config.fromfile(rpn).model)
    torch.save(model.state_dict(), untrained)
    pairs = [config, checkpoint] * 2 + [str(rpn), untrained]
    options = ['--out', str(tmp_path / 'out'), '--top', str(NUM)]
    options += ['--images', '3']
    monkeypatch.setattr(sys, 'argv', ['calibration.py', *pairs, *options])
    calibration.main()

    first, _, other = json.loads((tmp_path / 'out/figures.json').read_text())
    errors, train = (
        stages[0].errors(split, NUM, 3) for split in ('test', 'train')
    )
    factor = fit_std_scale(train.errors, train.stds)
    for kind, times in (('as predicted', 1.0), ('recalibrated', factor)):
        expected = std_calibration(
            errors.errors, times * errors.stds, errors.sizes
        )
        assert first[kind] == pytest.approx(dict(expected, factor=times))
    expected = objectness_calibration(errors.scores, errors.hits)
    assert first['objectness'] == pytest.approx(expected)
    assert set(other) == {'model', 'checkpoint', 'objectness'}

    table = (tmp_path / 'out/tables.md').read_text()
    assert table in capsys.readouterr().out
    rows = {cells[1]: cells for cells in map(cells_of, table.splitlines())}
    names = ['tiny, as predicted', 'tiny, recalibrated', 'tiny', 'rpn']
    assert [name for name in rows if name and name[0] in 'tr'] == names
    figures = first['as predicted']
    assert [f'{figures[key]:.3f}' for key in ('nll', 'nll_constant')] == (
        rows['tiny, as predicted'][7:9]
    )
    assert (tmp_path / 'out/reliability.png').stat().st_size > 20_000


def test_a_row_is_of_one_config(tiny, tmp_path, monkeypatch):
    twin = tmp_path / 'tiny.py'
    pairs = [str(tiny[0]), 'a.pth', str(twin), 'b.pth', str(twin), 'c.pth']
    words = ['calibration.py', *pairs, '--out', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', words)
    monkeypatch.setattr(calibration, 'read_config', lambda *_: None)
    stage = SimpleNamespace(split='train')
    monkeypatch.setitem(calibration.STAGES, 'proposals', lambda *_: stage)
    figures = dict(objectness=dict(objectness_ece=0.5))
    monkeypatch.setattr(calibration, 'measure', lambda *_: (figures, {}))
    calibration.main()
    runs = json.loads((tmp_path / 'out/figures.json').read_text())
    first, second, third = [run['model'] for run in runs]
    assert first != second == third
    table = (tmp_path / 'out/tables.md').read_text().splitlines()
    assert [cells_of(line)[1] for line in table[2:]] == [first, second]


def test_a_row_has_the_mean_and_the_range_of_its_seeds():
    runs = [
        dict(model='a', objectness=figures)
        for figures in (
            dict(objectness_ece=0.25, objectness_brier=0.1, hit_rate=0.5),
            dict(objectness_ece=0.5, objectness_brier=0.1, hit_rate=0.25),
        )
    ]
    row = calibration.format_tables(runs).splitlines()[-1]
    assert cells_of(row)[1:-1] == [
        *('a', '0.375 (0.250 to 0.500)', '0.100', '-'),
        '0.375 (0.250 to 0.500)',
    ]


@pytest.mark.slow
def test_refuses_detectors_without_stds_or_proposals(
    tiny, tmp_path, monkeypatch
):
    given, checkpoint = tiny
    out = tmp_path / 'out.py'
    config = tmp_path / 'config.py'
    untrained = str(tmp_path / 'untrained.pth')
    for lines, reason in (
        (
            f"_base_ = '{given}'\n"
            "model = dict(rpn_head=dict(type='RPNHead'))\n",
            'rpn_head.type must be .*KLRPNHead.* got RPNHead',
        ),
        (
            "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n",
            'a RetinaNet proposes no regions: take',
        ),
    ):
        config.write_text(lines)
        model = MODELS.build(Config.fromfile(config).model)
        torch.save(model.state_dict(), untrained)
        words = [str(config), untrained, '--out', str(out)]
        monkeypatch.setattr(sys, 'argv', ['recalibrate.py', *words])
        with pytest.raises(SystemExit, match=reason):
            recalibrate.main()
    stage = FirstStageErrors(given, checkpoint)
    with pytest.raises(ValueError, match='images must be >= 1, but got 0'):
        recalibrate.recalibrate(stage, out, 10, 0, 'train')
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'split'), [(recalibrate, 'train'), (calibration, 'test')]
)
def test_too_few_samples_are_counted(tiny, tmp_path, tool, split, monkeypatch):
    out = tmp_path / 'out'
    words = [*tiny, '--out', out, '--top', 5, '--images', 2]
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, words)])
    message = (
        r'only \d+ of 10 proposals are on an object of the 2 images of '
        f'{split}_dataloader, and 10 are needed: take'
    )
    with pytest.raises(SystemExit, match=message):
        tool.main()
    assert not out.is_file()


def test_keeps_a_file_that_exists(tmp_path, monkeypatch):
    out = tmp_path / 'out.py'
    out.write_text('mine')
    words = ['recalibrate.py', 'config.py', 'none.pth', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(SystemExit, match='exists already'):
        recalibrate.main()
    assert out.read_text() == 'mine'


def test_a_config_that_none_can_inherit_gets_the_factor_in_words(tmp_path):
    config, out = tmp_path / 'config.py', tmp_path / 'out.py'
    config.write_text(
        'from mmdet_klrpn.models import KLRPNHead\n'
        'model = dict(rpn_head=dict(type=KLRPNHead))\n'
    )
    with pytest.raises(ValueError, match=r'Python style.* set std_scale=1.5'):
        recalibrate.write(config, ('model', 'rpn_head'), 1.5, out)
    assert not out.exists()


def test_a_list_of_stages_gets_the_factor_in_words(tmp_path):
    config, out = tmp_path / 'config.py', tmp_path / 'out.py'
    config.write_text(
        "model = dict(roi_head=dict(bbox_head=[dict(type='KLBBoxHead')]))\n"
    )
    place = ('model', 'roi_head', 'bbox_head')
    with pytest.raises(ValueError, match=r'list of stages: set std_scale=1.5'):
        recalibrate.write(config, place, 1.5, out)
    assert not out.exists()


@pytest.fixture(scope='module')
def second(tiny):
    """The tiny detector with stds of its detections, near the objects."""
    folder = tiny[0].parent
    config, checkpoint = folder / 'second.py', folder / 'second.pth'
    config.write_text(
        f"_base_ = '{tiny[0]}'\n"
        'model = dict(\n'
        "    roi_head=dict(bbox_head=dict(type='KLVGGBBoxHead')),\n"
        '    test_cfg=dict(rcnn=dict(score_thr=0.0)))\n'
    )
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    stored = torch.load(tiny[1], weights_only=True)['state_dict']
    model.load_state_dict(stored, strict=False)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_reg.stds.weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return config, checkpoint


@pytest.mark.slow
def test_detections_get_their_own_factor(second, tmp_path, monkeypatch):
    """Fitted on the validation images; nothing else of the config changes."""
    out = tmp_path / 'recalibrated.py'
    words = [*second, '--out', out, '--of', 'detections', '--top', 50]
    monkeypatch.setattr(sys, 'argv', ['recalibrate.py', *map(str, words)])
    recalibrate.main()
    before, after = (
        SecondStageErrors(str(path), second[1]) for path in (second[0], out)
    )
    found = before.errors('val', 50, 100)
    assert 10 < len(found.errors) == found.hits.sum() < len(found.hits)
    factor = fit_std_scale(found.errors, found.stds)
    scale = after.config.model.roi_head.bbox_head.std_scale
    assert scale == pytest.approx(factor, rel=1e-3)
    assert factor != pytest.approx(1, abs=0.01)
    given = Config.fromfile(second[0])
    given.model.roi_head.bbox_head.std_scale = scale
    assert after.config.model == given.model
    again = after.errors('val', 50, 100)
    np.testing.assert_allclose(again.stds, scale * found.stds, rtol=1e-4)
    np.testing.assert_array_equal(again.errors, found.errors)


@pytest.mark.slow
def test_calibration_of_detections(second, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    words = [*second, '--out', out, '--of', 'detections']
    words += ['--score-thr', 0.4]
    monkeypatch.setattr(sys, 'argv', ['calibration.py', *map(str, words)])
    calibration.main()
    (figures,) = json.loads((out / 'figures.json').read_text())
    stage = SecondStageErrors(str(second[0]), second[1], score_thr=0.4)
    errors, fitted = (stage.errors(split, 100, 9) for split in ('test', 'val'))
    assert 0.4 <= errors.scores.min() < errors.scores.max()
    factor = fit_std_scale(fitted.errors, fitted.stds)
    expected = std_calibration(
        errors.errors, factor * errors.stds, errors.sizes
    )
    assert figures['recalibrated'] == pytest.approx(
        dict(expected, factor=factor)
    )


@pytest.mark.slow
def test_a_detector_without_stds_of_detections_is_refused(
    tiny, tmp_path, monkeypatch
):
    words = [*tiny, '--out', tmp_path / 'out.py', '--of', 'detections']
    monkeypatch.setattr(sys, 'argv', ['recalibrate.py', *map(str, words)])
    message = r'roi_head\.bbox_head\.type must .*KLBBoxHead, but got VGGBBox'
    with pytest.raises(SystemExit, match=message):
        recalibrate.main()


def test_training_sets_are_found_inside_of_their_wrappers():
    """The images of VOC 2007 and 2012, which the config joins and repeats."""
    config = Config.fromfile(
        ROOT / 'configs/kl_rpn/faster-rcnn_vgg16_kl-rpn_1x_voc0712.py'
    )
    found = list(leaf_datasets(config.train_dataloader.dataset))
    assert [leaf.ann_file for leaf in found] == [
        f'VOC20{year}/ImageSets/Main/trainval.txt' for year in ('07', '12')
    ]
