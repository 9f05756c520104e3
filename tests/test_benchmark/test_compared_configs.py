"""Configs are found, and compared by what mmengine's runner reads."""

import pytest
from conftest import ROOT, load_tool
from mmengine.config import Config

from mmdet_klrpn.benchmark.configs import (
    check_comparison,
    check_run,
    differences,
    resolve,
)
from mmdet_klrpn.benchmark.plan import Comparison, Detector, Plan
from mmdet_klrpn.benchmark.runs import Run
from mmdet_klrpn.utils import conversion
from mmdet_klrpn.utils.conversion import mmdet_configs, resolve_config

RPN = 'rpn_r50_fpn_1x_coco.py'
FASTER = 'faster-rcnn_r50_fpn_1x_coco.py'
KL_RPN = 'faster-rcnn_r50_fpn_kl-rpn_1x_coco.py'
TYPE = 'model.rpn_head.type'


def compare(first, second, allow=()):
    """Check two detectors, each its fields or the path of its config."""
    detectors = [
        Detector(
            name, **(each if isinstance(each, dict) else dict(config=each))
        )
        for name, each in (('a', first), ('b', second))
    ]
    comparison = Comparison(('a', 'b'), allow)
    plan = Plan('', None, tuple(detectors), (comparison,), 1)
    configs = {each.name: resolve(each) for each in detectors}
    check_comparison(comparison, plan, configs)


def options(**given):
    return dict(
        config=FASTER,
        cfg_options={key.replace('__', '.'): x for key, x in given.items()},
    )


def test_configs_are_found_by_path_and_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = ROOT / 'configs/kl_rpn' / KL_RPN
    for name in (own, KL_RPN, f'kl_rpn/{KL_RPN}', f'configs/kl_rpn/{KL_RPN}'):
        assert resolve_config(str(name)) == own
    assert resolve_config(KL_RPN[: -len('.py')]) == own
    mmdet = mmdet_configs() / 'faster_rcnn' / FASTER
    for name in (FASTER, f'faster_rcnn/{FASTER}', f'mmdet::{FASTER}'):
        assert resolve_config(name) == mmdet
    with pytest.raises(FileNotFoundError, match='neither a file nor a config'):
        resolve_config(f'mmdet::{KL_RPN}')
    with pytest.raises(FileNotFoundError, match=f'did you mean {KL_RPN}'):
        resolve_config(KL_RPN.replace('kl-rpn', 'klrpn'))
    # From a wheel.
    installed = tmp_path / 'wheel' / 'configs' / 'x' / KL_RPN
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setattr(
        conversion, 'package_folder', lambda name: tmp_path / 'wheel' / name
    )
    assert resolve_config(f'configs/x/{KL_RPN}') == installed


def test_options_are_merged_and_must_change_something():
    given = options(model__train_cfg__rpn={'allowed_border': 0})
    config = resolve(Detector('a', **given))
    assert config.model.train_cfg.rpn.allowed_border == 0
    assert config.model.train_cfg.rpn.assigner.type == 'MaxIoUAssigner'
    assert config.default_hooks.checkpoint.max_keep_ckpts == 2
    assert config.load_from is None
    # The dataloaders have read it, and nothing does once more.
    for option in ('modle.type', 'train_pipeline'):
        with pytest.raises(
            ValueError, match=f"one of .* but got '{option[:5]}"
        ):
            resolve(Detector('a', FASTER, cfg_options={option: 1}))
    finetuned = Detector('a', FASTER, cfg_options={'load_from': 'x.pth'})
    assert resolve(finetuned).load_from == 'x.pth'
    zoo = Detector('a', FASTER, 'y.pth', {'load_from': 'x.pth'})
    assert resolve(zoo).load_from == 'y.pth'


def test_a_broken_config_is_named(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text("custom_imports = dict(imports=['no_such_module'])\n")
    with pytest.raises(ValueError, match=r'a\.py: .*no_such_module'):
        resolve(Detector('a', str(path)))


@pytest.mark.parametrize(
    'name',
    [
        FASTER,
        RPN,
        'mask-rcnn_r50_fpn_1x_coco.py',
        'cascade-mask-rcnn_r50_fpn_1x_coco.py',
        'faster-rcnn_r50-caffe_c4-1x_coco.py',
        'htc_r50_fpn_1x_coco.py',
    ],
)
def test_to_kl_rpn_writes_what_compares_with_its_parent(name, tmp_path):
    out = tmp_path / 'kl-rpn.py'
    load_tool('tools/misc/to_kl_rpn.py').write(name, out)
    compare(name, str(out))
    with pytest.raises(ValueError, match='both are the same'):
        compare(str(out), str(out))


def test_the_rpn_head_alone_may_differ():
    compare(FASTER, options(**{TYPE: 'KLRPNHead'}))
    top_9 = dict(type='TopKMaxIoUAssigner', topk=9)
    compare(FASTER, options(model__train_cfg__rpn__assigner=top_9))
    with pytest.raises(ValueError, match='both are the same'):
        compare(FASTER, options(model__train_cfg__rpn__assigner={}))
    other = options(
        model__roi_head__type='ObjectnessRoIHead',
        optim_wrapper__clip_grad=dict(max_norm=1),
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compare(FASTER, other)
    for text in (
        "model.roi_head.type is 'StandardRoIHead' and 'ObjectnessRoIHead'",
        "optim_wrapper.clip_grad.max_norm is 'absent' and 1",
    ):
        assert text in str(caught.value)
    compare(FASTER, other, ('model.roi_head', 'optim_wrapper.clip_grad'))
    # A key that merely begins alike is another.
    with pytest.raises(ValueError, match=r'roi_head.type'):
        compare(FASTER, other, ('model.roi', 'optim_wrapper'))
    with pytest.raises(ValueError, match=r'; .* and \d+ more\. Make them'):
        compare(FASTER, 'mask-rcnn_r101_fpn_1x_coco.py')


def test_checkpoints_are_compared():
    zoo = dict(config=FASTER, checkpoint='a.pth')
    compare(FASTER, zoo)
    compare(dict(zoo, checkpoint='b.pth'), zoo)
    with pytest.raises(ValueError, match='both are the same'):
        compare(zoo, zoo)
    # Other weights to begin with are another training.
    with pytest.raises(ValueError, match='load_from'):
        compare(FASTER, options(**{TYPE: 'KLRPNHead'}, load_from='a.pth'))


def test_differences_of_values():
    first = dict(a=1, model=[1, dict(c=2)], launcher=None, load_from=(1, 2))
    second = dict(a=2, model=[1, dict(c=3, _scope_='x'), 4], load_from=[1, 2])
    found = differences(Config(first), Config(second))
    assert list(map(tuple, found)) == [
        ('model.1.c', 2, 3),
        ('model.2', 'absent', 4),
    ]
    assert differences(Config(first), Config(second), ['model']) == ()
    empty = differences(Config(dict(custom_hooks=[])), Config({}))
    assert [each.key for each in empty] == ['custom_hooks']
    plain = dict(model=dict(rpn_head=dict(num_convs=2)))
    look = dict(model=dict(rpn_head=dict(num_convs=2, second_look={})))
    (found,) = differences(Config(look), Config(plain))
    assert found.key == 'model.rpn_head.second_look'


def test_a_run_of_something_else_is_refused(tmp_path):
    run, wanted = Run(tmp_path / 'seed3'), resolve(Detector('a', FASTER))
    check_run(run, wanted)
    run.folder.mkdir()
    check_run(run, wanted)
    started = Config(wanted.to_dict())
    started.merge_from_dict(
        dict(randomness={'seed': 3}, launcher='pytorch', work_dir='w')
    )
    started.dump(run.config)
    check_run(run, wanted)
    wanted.optim_wrapper.optimizer.lr = 0.5
    with pytest.raises(ValueError, match=r'optimizer\.lr is 0\.02 and 0\.5'):
        check_run(run, wanted)
    wanted.optim_wrapper.optimizer.lr = 0.02
    wanted.load_from = 'x.pth'
    with pytest.raises(ValueError, match='load_from'):
        check_run(run, wanted)
    started.resume = True
    started.dump(run.config)
    check_run(run, wanted)
    other = run.folder.rename(tmp_path / 'seed2')
    with pytest.raises(ValueError, match=r'randomness\.seed is 3 and 2'):
        check_run(Run(other), wanted)
    Run(other).config.unlink()
    (other / 'epoch_1.pth').touch()
    with pytest.raises(ValueError, match='checkpoints of something else'):
        check_run(Run(other), wanted)
