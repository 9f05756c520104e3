"""The tool that measures every link of a tiny detector."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import load_tool, write_enlarged_config
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from mmdet_klrpn.apis import load_detector, propose
from mmdet_klrpn.benchmark.detection import (
    average_precisions,
    evaluate,
    pack_detections,
)
from mmdet_klrpn.benchmark.links import measure, measure_links
from mmdet_klrpn.benchmark.links.words import LINKS
from mmdet_klrpn.benchmark.recall import evaluate_proposals
from mmdet_klrpn.evaluation.split_items import split_items

proposal_links = load_tool('tools/analysis_tools/proposal_links.py')


@pytest.fixture(scope='module')
def tiny(tiny_data, tmp_path_factory):
    """Folder of a run of a detector that is not trained."""
    folder = tmp_path_factory.mktemp('runs') / 'tiny' / 'seed3'
    folder.mkdir(parents=True)
    path = write_enlarged_config(folder / 'tiny.py', tiny_data)
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(model.state_dict(), str(folder / 'epoch_1.pth'))
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    return folder


@pytest.fixture(scope='module')
def given(tiny):
    return str(tiny / 'tiny.py'), str(tiny / 'epoch_1.pth')


def test_figures_are_those_of_the_detector(tiny_data, given):
    found = measure_links(*given, train_images=3)
    links = found['links']
    assert set(links) == {link.name for link in LINKS}
    assert (found['test_images'], found['test_objects']) == (8, 14)
    assert (found['train_images'], found['num_proposals']) == (3, 300)

    model = load_detector(*given)
    detections, predictions = [], []
    for dataset, index in split_items(Config.fromfile(given[0]), 'test'):
        batch = pseudo_collate([dataset[index]])
        (stage,) = propose(model, batch)
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        proposals = stage.proposals
        predictions.append(
            dict(
                img_id=sample.img_id,
                bboxes=proposals.bboxes.numpy(),
                scores=proposals.scores.numpy(),
            )
        )
        instances = sample.pred_instances
        detections += pack_detections(
            sample.img_id,
            {k: instances[k].numpy() for k in ('bboxes', 'scores', 'labels')},
            [1],
        )
    truth = json.loads((tiny_data / 'annotations.json').read_text())
    precision = average_precisions(evaluate(truth, detections))
    row = links['precision']['detector']
    assert list(row.values())[:3] == pytest.approx(precision[:3].tolist())
    assert list(row)[3:] == list(links['recall']['AR@10'])[1:]
    assert row['AP50'] > 0
    recall = evaluate_proposals(truth, predictions).recall().mean(axis=2)
    for i, number in enumerate((10, 30, 100, 300)):
        value = links['recall'][f'AR@{number}']['all objects']
        assert value == pytest.approx(recall[0, i])
    # Perfect classes cannot find more at IoU 0.5 than proposals are near.
    assert row['AP'] < links['precision']['oracle classification']['AP'] < 1
    claimed = sum(links['claims']['of an image'].values())
    given = [len(p['scores'][:100]) for p in predictions]
    assert claimed == pytest.approx(np.mean(given))
    # There are so few positives that all are drawn.
    samples = links['samples']['of an image']
    assert samples['which are added objects'] == 2
    assert samples['which are proposals'] == samples['assigned proposals'] > 0
    assert samples['positives'] == samples['assigned proposals'] + 2


def test_tool_writes_and_compares(tiny, given, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out'
    rpn = tmp_path / 'rpn.py'
    rpn.write_text(
        f"_base_ = '{given[0]}'\n"
        "model = dict(rpn_head=dict(type='SparseRPNHead'))\n"
    )
    model = MODELS.build(Config.fromfile(rpn).model)
    checkpoint = tmp_path / 'untrained.pth'
    torch.save(model.state_dict(), str(checkpoint))
    words = [tiny, rpn, checkpoint, '-o', out, '--train-images', 2]
    monkeypatch.setattr(sys, 'argv', ['proposal_links.py', *map(str, words)])
    proposal_links.main()
    ours, theirs = json.loads((out / 'links.json').read_text())
    assert (ours['model'], ours['seed']) == ('tiny', 3)
    assert (theirs['model'], theirs['seed']) == ('rpn', 0)
    page = (out / 'links.md').read_text()
    assert page in capsys.readouterr().out
    for run, letter in ((ours, 'A'), (theirs, 'B')):
        row = run['links']['recall']['AR@100']
        shown = f'| AR@100, {letter} | {100 * row["all objects"]:.1f} |'
        assert shown in page
    assert np.isfinite(ours['size_edges']).all()


def test_detectors_of_the_command_line(tiny, given, tmp_path):
    config, checkpoint = given
    run = ('tiny', config, checkpoint, 3)
    assert proposal_links.parse([str(tiny)]) == [run]
    # A checkpoint in such a folder is of its name and seed.
    (tmp_path / 'a.pth').touch()
    words = [config, checkpoint, str(tiny), config, str(tmp_path / 'a.pth')]
    last = ('tiny', config, words[-1], None)
    assert proposal_links.parse(words) == [run, run, last]
    for words, reason in (
        ([str(tmp_path)], 'has no finished training'),
        ([config], 'nor has it a checkpoint behind it'),
        ([config, str(tiny)], 'nor has it a checkpoint behind it'),
    ):
        with pytest.raises(ValueError, match=reason):
            proposal_links.parse(words)
    runs = [
        proposal_links.Given(model, '', f'{model}.pth', seed)
        for model, seed in zip('aaab', (None, 1, None, 4))
    ]
    numbered = proposal_links.number(runs)
    assert [given.seed for given in numbered] == [0, 1, 2, 4]
    # Before anything is measured.
    with pytest.raises(ValueError, match=r'b has seed 4 twice.*b\.pth'):
        proposal_links.number([*runs, runs[-1]])


def test_refuses_two_detectors_of_one_name(given, tmp_path, monkeypatch):
    words = ['proposal_links.py', '-o', str(tmp_path / 'out')]
    for folder in 'ab':
        twin = tmp_path / folder / 'twin.py'
        twin.parent.mkdir()
        twin.write_text(f"_base_ = '{given[0]}'\nmark = '{folder}'\n")
        words += [str(twin), str(tmp_path / folder / 'twin.pth')]
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(SystemExit, match=r"called twin.*mark: 'a' -> 'b'"):
        proposal_links.main()


def test_refuses_other_detectors(given, tmp_path, monkeypatch):
    config = tmp_path / 'config.py'
    for lines, reason in (
        ("model = dict(type='RPN')", 'a RPN has not two stages'),
        (
            'model = dict(train_cfg=dict(rcnn=None))',
            r'model\.train_cfg\.rcnn must be there',
        ),
    ):
        config.write_text(f"_base_ = '{given[0]}'\n{lines}\n")
        with pytest.raises(ValueError, match=reason):
            measure_links(str(config), given[1], train_images=1)
    with pytest.raises(ValueError, match='train_images must be >= 1'):
        measure_links(*given, train_images=0)
    cascade = SimpleNamespace(rpn_head=None, roi_head=nn.Identity())
    monkeypatch.setattr(measure, 'load_detector', lambda *_: cascade)
    with pytest.raises(ValueError, match=r'StandardRoIHead.*but got Identity'):
        measure_links(*given, train_images=1)
