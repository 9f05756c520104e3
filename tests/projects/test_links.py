"""Links of tiny detectors, and of a head whose samples are known."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_tool, run, write_enlarged_config
from links.image import Image
from links.measure import check_detector, measure_links, predict
from links.report import LINKS, link_table
from links.sampling import sample_rois, sampling_links
from mmdet.models.task_modules import MaxIoUAssigner, RandomSampler
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from seed_tables import show_difference
from study import STUDY
from tiny_detectors import ROI_HEADS, batch, tiny_detector

from mmdet_klrpn.apis import load_detector, propose
from mmdet_klrpn.benchmark.recall import evaluate_proposals
from mmdet_klrpn.evaluation.split_items import split_items

command = load_tool('projects/kl_rpn_study/links.py')


@pytest.fixture(scope='module')
def tiny(tiny_data, tmp_path_factory):
    """Folder of a run of a detector that is not trained."""
    folder = tmp_path_factory.mktemp('runs') / 'kl-rpn' / 'seed3'
    folder.mkdir(parents=True)
    path = write_enlarged_config(folder / 'config.py', tiny_data)
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(path).model)
    torch.save(model.state_dict(), str(folder / 'epoch_1.pth'))
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    (folder.parents[1] / 'plan.yaml').write_text(
        'title: t\nwork_dir: w\nseeds: 1\ncompare: []\n'
        'detectors: {KL-RPN: a.py, RPN: b.py}\n'
    )
    return folder


def test_figures_are_those_of_the_detector(tiny_data, tiny):
    files = str(tiny / 'config.py'), str(tiny / 'epoch_1.pth')
    frame, data = measure_links(*files, 'test', train_images=3)
    assert set(frame['link']) == set(LINKS)
    assert (data['images'], data['objects'], data['train_images']) == (
        8,
        14,
        3,
    )
    found = frame.set_index(['link', 'row', 'group'])['value'].sort_index()

    model = load_detector(*files)
    detections, predictions = [], []
    for dataset, index in split_items(Config.fromfile(files[0]), 'test'):
        data = pseudo_collate([dataset[index]])
        (stage,) = propose(model, data)
        with torch.no_grad():
            (sample,) = model.test_step(data)
        proposals = dict(
            img_id=sample.img_id,
            bboxes=stage.proposals.bboxes.numpy(),
            scores=stage.proposals.scores.numpy(),
        )
        predictions.append(proposals)
        instances = sample.pred_instances
        for box, score in zip(instances.bboxes, instances.scores):
            x1, y1, x2, y2 = box.tolist()
            detections.append(
                dict(
                    image_id=sample.img_id,
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    score=float(score),
                )
            )
    coco = COCO(str(tiny_data / 'annotations.json'))
    evaluation = COCOeval(coco, coco.loadRes(detections), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    own = found['precision', 'detector'][['AP', 'AP50', 'AP75']]
    assert own.tolist() == pytest.approx(evaluation.stats[:3].tolist())
    assert own['AP50'] > 0
    truth = json.loads((tiny_data / 'annotations.json').read_text())
    found_by = evaluate_proposals(truth, predictions).of(np.ones((1, 8)))
    recall = found_by[0].mean(axis=2)
    for i, number in enumerate((10, 30, 100, 300)):
        value = found['recall', f'AR@{number}', 'all']
        assert value == pytest.approx(recall[0, i])
    # Perfect classes cannot find more at IoU 0.5 than proposals are near.
    assert own['AP'] < found['precision', 'oracle classification', 'AP'] < 1
    # There are so few positives that all are drawn.
    samples = found['samples', 'of an image']
    assert samples['which are added objects'] == 2
    assert samples['which are proposals'] == samples['assigned proposals'] > 0
    assert samples['positives'] == samples['assigned proposals'] + 2


def test_a_head_with_a_power_is_seen_without_it(tiny):
    config = Config.fromfile(tiny / 'config.py')
    head = dict(type='ObjectnessRoIHead', objectness_power=2.0)
    config.model.roi_head.update(head)
    model = load_detector(config, str(tiny / 'epoch_1.pth'))
    found = predict(model, split_items(config, 'test')[:2])
    assert model.roi_head.objectness_power == 2
    own, weighed, plain = (
        [image['scores'] for image in found[row]]
        for row in (
            ('precision', 'detector'),
            ('objectness', 'all proposals, power 2'),
            ('objectness', 'all proposals, power 0'),
        )
    )
    for one, two, three in zip(own, weighed, plain):
        assert one == pytest.approx(two, rel=1e-4)
        assert one.sum() < three.sum()


BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70.0]])


def known_samples(monkeypatch, num=100, add=True):
    """Samples of three objects and five proposals."""
    proposals = [
        [0, 0, 10, 8],  # IoU 0.8 with the first
        [0, 0, 10, 6],  # 0.6
        [20, 20, 40, 35],  # 0.75 with the second
        [0, 0, 4, 10],  # 0.4 with the first: negative
        [80, 80, 90, 90],  # in the crowd: neither
    ]
    found = InstanceData(
        bboxes=torch.tensor(proposals, dtype=torch.float),
        scores=torch.ones(5),
    )
    head = SimpleNamespace(
        bbox_assigner=MaxIoUAssigner(0.5, 0.5, 0.5, ignore_iof_thr=0.5),
        bbox_sampler=RandomSampler(num, 0.5, add_gt_as_proposals=add),
    )
    rpn_head = type(
        'Head',
        (),
        dict(
            __call__=lambda *_: (),
            predict_by_feat=lambda *_, **__: [found],
        ),
    )()
    cfg = SimpleNamespace(get=lambda *_: None, rpn=None)
    model = SimpleNamespace(
        rpn_head=rpn_head, roi_head=head, train_cfg=cfg, test_cfg=cfg
    )
    crowds = np.array([[75.0, 75, 99, 99]])
    image = Image((), [], torch.ones(4), BOXES, np.array([0, 1, 1]), crowds)
    monkeypatch.setattr('links.sampling.load_image', lambda *_: image)
    return model, image


def test_positives_of_each_object(monkeypatch):
    counts, objects = sample_rois(*known_samples(monkeypatch))
    assert list(counts.values()) == [3, 6, 3, 3, 1]
    assert objects['proposals'].tolist() == [2, 1, 0]
    assert objects['ious'].tolist() == pytest.approx([1.4, 0.75, 0])
    assert objects['size'].tolist() == [10, 20, 10]
    counts, objects = sample_rois(*known_samples(monkeypatch, add=False))
    assert list(counts.values()) == [3, 3, 3, 0, 1]
    # Two of the six positives are drawn, but three proposals are positive.
    counts, _ = sample_rois(*known_samples(monkeypatch, num=4))
    assert (counts['assigned proposals'], counts['positives']) == (3, 2)

    model, _ = known_samples(monkeypatch)
    edges = np.array([15.0, 30, 40])
    frame, number = sampling_links(model, [None] * 2, ['a', 'b'], edges)
    found = frame.set_index(['row', 'group'])['value']
    assert number == 6
    assert found['of an image', 'negatives'] == 1
    ious = found['IoU of positive proposals']
    assert ious['all'] == pytest.approx(2.15 / 3)
    assert ious['class mean'] == pytest.approx((0.7 + 0.75) / 2)
    assert ious[['Q1', 'Q2']].tolist() == pytest.approx([0.7, 0.75])
    missed = found['objects without one']
    assert missed[['class: a', 'class: b', 'Q1']].tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize('roi_head', list(ROI_HEADS)[::3])
@pytest.mark.parametrize('ohem', [False, True])
def test_samples_are_those_of_a_training_step(roi_head, ohem, monkeypatch):
    model = tiny_detector(roi_head=roi_head).eval()
    if ohem:
        cfg = Config(dict(type='OHEMSampler', num=32, pos_fraction=0.25))
        model.roi_head.train_cfg.sampler = cfg._cfg_dict
        model.roi_head.init_assigner_sampler()
    data = model.data_preprocessor(batch(), training=True)
    inputs, samples = data['inputs'][:1], data['data_samples'][:1]
    sampler, drawn = model.roi_head.bbox_sampler, []
    real = sampler.sample

    def spy(*args, **kwargs):
        torch.manual_seed(1)
        drawn.append(real(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(sampler, 'sample', spy)
    truth = samples[0].gt_instances
    with torch.no_grad():
        model.loss(inputs, samples)
        objects = truth.bboxes.numpy(), truth.labels.numpy()
        image = Image(
            model.extract_feat(inputs),
            *(samples, torch.ones(4), *objects, np.zeros((0, 4))),
        )
        counts, _ = sample_rois(model, image)
    expected, ours = drawn
    assert torch.equal(ours.priors, expected.priors)
    assert torch.equal(
        ours.pos_assigned_gt_inds, expected.pos_assigned_gt_inds
    )
    assert counts['positives'] == len(ours.pos_inds) > 0


def make_frame(values):
    """A link's only figure, by detector and seed."""
    return pd.DataFrame(
        [
            (name, seed, link, 'row', 'all', value)
            for link in LINKS
            for name, own in values.items()
            for seed, value in enumerate(own)
        ],
        columns=['detector', 'seed', 'link', 'row', 'group', 'value'],
    )


def test_detectors_are_compared_with_the_first():
    frame = make_frame({'rpn': [0.1, 0.2, 0.6], 'kl': [0.2, 0.25]})
    table = link_table(frame, 'recall')
    assert table['all'].to_dict() == {
        'row, rpn': '30.0',
        'row, kl': '22.5',
        'row, kl \N{MINUS SIGN} rpn': show_difference([10, 20, 60], [20, 25]),
    }
    assert link_table(frame, 'samples')['all'].iloc[0] == '0.3'
    frame = make_frame({'rpn': [0.1, 0.2], 'kl': [0.2, np.nan]})
    dash = '\N{EN DASH}'
    assert link_table(frame, 'recall')['all'].tolist() == ['15.0', dash, dash]


def test_detectors_of_the_command_line(tiny, tmp_path):
    given = command.Given(
        'KL-RPN', tiny.parent, 3, tiny / 'config.py', tiny / 'epoch_1.pth'
    )
    assert command.parse([str(tiny)]) == [given]
    config, checkpoint = tmp_path / 'rpn.py', tmp_path / 'a.pth'
    words = [config, checkpoint, tiny, config, tmp_path / 'b.pth']
    found = command.parse(words)
    assert [g.source for g in found] == [config, tiny.parent, config]
    assert [g.seed for g in found] == [0, 3, 1]
    twin = shutil.copytree(tiny.parents[1], tmp_path / 'x') / 'kl-rpn/seed3'
    (tmp_path / 'x/rpn/seed0').mkdir(parents=True)
    for words, reason in (
        ([tmp_path / 'x/rpn/seed0'], 'has no finished training'),
        ([config], 'needs a checkpoint after it'),
        ([config, tiny], 'needs a checkpoint after it'),
        ([tiny, tiny], 'a run is given twice'),
        ([tiny, twin], 'share a name: rename one'),
    ):
        with pytest.raises(ValueError, match=reason):
            command.parse(words)


@pytest.mark.slow
def test_the_command_compares(tiny, tmp_path):
    config, checkpoint = tmp_path / 'rpn.py', tmp_path / 'untrained.pth'
    config.write_text(
        f"_base_ = '{tiny / 'config.py'}'\n"
        "model = dict(rpn_head=dict(type='SparseRPNHead'))\n"
    )
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(model.state_dict(), str(checkpoint))
    words = sys.executable, STUDY / 'links.py', tiny, config, checkpoint
    run(*words, '-o', tmp_path, '--train-images', 2, '--split', 'val')
    frame = pd.read_csv(tmp_path / 'links.csv')
    assert frame['detector'].unique().tolist() == ['KL-RPN', 'rpn']
    page = (tmp_path / 'links.md').read_text()
    assert 'Measured on 8 val images with 14 objects.' in page
    assert '| AR@100, rpn \N{MINUS SIGN} KL-RPN |' in page


def test_refuses_other_detectors():
    for head in (None, torch.nn.Identity()):
        with pytest.raises(ValueError, match='must be a StandardRoIHead'):
            check_detector(SimpleNamespace(roi_head=head))
    model = tiny_detector()
    check_detector(model)
    model.roi_head.bbox_sampler = None
    with pytest.raises(ValueError, match=r'a model\.train_cfg\.rcnn'):
        check_detector(model)
