"""The study's plans, and heads that only it trains."""

import pytest
import torch
from conftest import ROOT, STUDY, write_tiny_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmdet_klrpn.apis import load_detector, propose
from mmdet_klrpn.benchmark.checks import check_configs
from mmdet_klrpn.benchmark.plan import load_plan

# The others are of heads trained alone.
PLANS = [
    path
    for path in sorted((ROOT / 'projects/kl_rpn_study/plans').glob('*.yaml'))
    if '\ndetectors:' in path.read_text()
]


@pytest.mark.parametrize(
    'path', sorted(STUDY.glob('*.py')), ids=lambda path: path.stem
)
def test_training_validates_on_images_to_choose_on(path):
    config = Config.fromfile(path)
    for split in ('val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        assert dataset.ann_file == f'annotations/{split}.json'
        assert dataset.data_prefix == dict(img=f'{split}/')
        file = config[f'{split}_evaluator'].ann_file
        assert file == dataset.data_root + dataset.ann_file


@pytest.mark.slow
@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_plan_compares_what_its_names_say(path, tmp_path):
    plan = load_plan(path)._replace(work_dir=tmp_path)
    configs = check_configs(plan)
    for name, config in configs.items():
        is_kl_rpn = config.model.rpn_head.type == 'KLRPNHead'
        assert is_kl_rpn == ('KL-RPN' in name)
        has_topk = 'TopKMaxIoUAssigner' in str(config.model.train_cfg.rpn)
        assert has_topk == ('top-9' in name)
    scripts = {step.run.split()[1] for step in plan.prepare}
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['cascade-rpn_faster-rcnn', 'ga-faster-rcnn'])
def test_other_heads_train_and_propose(name, tiny_data, tmp_path):
    base = STUDY / f'{name}_mobilenetv2_fpn_8e_stamps.py'
    config = Config.fromfile(
        write_tiny_config(tmp_path / 'tiny.py', tiny_data, base)
    )
    classes = dict(metainfo=dict(classes=('tree',)))
    config.merge_from_dict(
        {
            'train_dataloader.dataset': classes,
            'test_dataloader.dataset': classes,
            'model.roi_head.bbox_head.num_classes': 1,
        }
    )
    init_default_scope('mmdet')
    model = load_detector(config, None)
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    data = model.data_preprocessor(next(iter(loader)), training=True)
    model.train()
    loss, logged = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert sum('rpn' in key or 'anchor' in key for key in logged) > 1
    for key, parameter in model.rpn_head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
    if name.startswith('ga'):  # mmcv's masked convolution needs a GPU
        return
    model.eval()
    loader = Runner.build_dataloader(config.test_dataloader, seed=0)
    (stage,) = propose(model, next(iter(loader)))
    assert len(stage.proposals) > 0
    assert torch.isfinite(stage.proposals.bboxes).all()
