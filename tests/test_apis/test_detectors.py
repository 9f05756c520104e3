"""Detectors and the checkpoints that they may be loaded from."""

import re
from collections import OrderedDict

import pytest
import torch
from conftest import KL_RPN_CONFIG, warnings_logged
from mmdet.apis import init_detector
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import get_state_dict

import mmdet_klrpn  # noqa: F401
from mmdet_klrpn.apis import load_detector

GONE = 'import module_that_is_gone\nraise SystemExit("executed")\n'


def config_of(head='KLRPNHead', wrapper=None, **options):
    """A small detector's config, alone or in a teacher and a student."""
    config = Config.fromfile(KL_RPN_CONFIG)
    config.model.rpn_head = ConfigDict(
        config.model.rpn_head, type=head, **options
    )
    config.model.backbone.init_cfg = None
    if wrapper == 'RPN':
        config.model = ConfigDict(
            {k: v for k, v in config.model.items() if k != 'roi_head'},
            type='RPN',
        )
    elif wrapper == 'SoftTeacher':
        config.model = ConfigDict(
            type='SoftTeacher',
            detector=config.model,
            semi_train_cfg=dict(freeze_teacher=True),
            semi_test_cfg=dict(predict_on='teacher'),
        )
    return config


def weights_of(config, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build(dict(config.model, _scope_='mmdet'))
    return OrderedDict(get_state_dict(model))


def without_std_range(state):
    """As a version of KLRPNHead saved it that knew no such record."""
    return OrderedDict(
        (k, v) for k, v in state.items() if not k.endswith('std_range')
    )


def save(path, state, **meta):
    torch.save(dict(state_dict=state, meta=meta), path)
    return path


METAS = {
    'none': None,
    'list': [1],
    'empty': {},
    'module gone': dict(cfg=GONE),
    'syntax error': dict(cfg='model = dict(rpn_head=dict('),
    'no text': dict(cfg=3),
    'dict': dict(cfg=dict(model=1)),
    'bytes': dict(cfg=b'\xff\xfe'),
    'mmdet 2': dict(config=GONE, CLASSES=('tree',), PALETTE=None),
    'classes': dict(dataset_meta=dict(CLASSES=('tree',), palette=[(1, 2, 3)])),
}


@pytest.mark.parametrize('name', METAS)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_loads_what_mmdet_loads(name, prefix, tmp_path):
    config = config_of()
    state = {prefix + k: v for k, v in weights_of(config).items()}
    path = tmp_path / 'given.pth'
    torch.save(dict(state_dict=state, meta=METAS[name]), path)
    with warnings_logged() as lines:
        model = load_detector(config, path)
    assert not lines
    assert not model.training
    assert model.cfg is config
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[prefix + key]), key
    if METAS[name] is None or isinstance(METAS[name], list):
        return  # which mmdet's own does not load
    theirs = init_detector(config, str(path), device='cpu').dataset_meta
    assert model.dataset_meta['classes'] == theirs['classes']
    if 'dataset_meta' in METAS[name]:
        assert model.dataset_meta['palette'] == [(1, 2, 3)]


def test_loads_bare_weights_by_paths_without_a_scope(tmp_path):
    config = config_of()
    config.default_scope = None
    config.dump(tmp_path / 'config.py')
    torch.save(weights_of(config), tmp_path / 'given.pth')
    model = load_detector(tmp_path / 'config.py', tmp_path / 'given.pth')
    assert isinstance(model.cfg, Config)
    assert len(model.dataset_meta['classes']) == 80


def test_num_batches_tracked_may_be_absent(tmp_path):
    config = config_of()
    state = weights_of(config)
    few = [k for k in state if 'num_batches_tracked' not in k]
    assert len(few) < len(state)
    path = save(tmp_path / 'given.pth', {k: state[k] for k in few})
    load_detector(config, path)
    del few[3]
    save(path, {k: state[k] for k in few})
    with pytest.raises(ValueError, match=f'it lacks {list(state)[3]}; give'):
        load_detector(config, path)


@pytest.mark.parametrize('given', [[1], dict(state_dict=[1])])
def test_a_file_without_weights_is_named(given, tmp_path):
    torch.save(given, tmp_path / 'given.pth')
    message = r'given\.pth does not fit .*it holds a list, not a dict'
    with pytest.raises(ValueError, match=message):
        load_detector(config_of(), tmp_path / 'given.pth')


PLACES = pytest.mark.parametrize(
    ('plain', 'wrapper'),
    [
        ('RPNHead', None),
        ('SparseRPNHead', 'RPN'),
        ('RPNHead', 'SoftTeacher'),
    ],
)


def message_of(wrapper, trained, model):
    place = 'bbox_head' if wrapper == 'RPN' else 'rpn_head'
    return rf'its .*{place} was trained as {trained}, but .* has {model}, .*gi'


@PLACES
def test_weights_of_kl_rpn_are_refused_by_a_plain_rpn(
    plain, wrapper, tmp_path
):
    """The weights themselves tell; of older ones, the stored config."""
    config = config_of(plain, wrapper)
    ours = config_of('KLRPNHead', wrapper)
    state = weights_of(ours)
    message = message_of(wrapper, 'KLRPNHead', plain)
    path = save(tmp_path / 'given.pth', state, cfg=GONE)
    with pytest.raises(ValueError, match=message):
        load_detector(config, path)
    state = without_std_range(state)
    save(path, state, cfg=GONE + ours.pretty_text)
    with pytest.raises(ValueError, match=message):
        load_detector(config, path)
    save(path, state, cfg=GONE)  # so that nothing tells
    load_detector(config, path)


@PLACES
def test_weights_of_a_plain_rpn_are_refused_by_kl_rpn(
    plain, wrapper, tmp_path
):
    config = config_of('KLRPNHead', wrapper)
    theirs = config_of(plain, wrapper)
    state = weights_of(theirs)
    path = save(tmp_path / 'given.pth', state, cfg=GONE + theirs.pretty_text)
    with pytest.raises(
        ValueError, match=message_of(wrapper, plain, 'KLRPNHead')
    ):
        load_detector(config, path)
    save(path, state, cfg=GONE)
    with warnings_logged() as lines:
        load_detector(config, path)
    assert len(lines) == (2 if wrapper == 'SoftTeacher' else 1)
    assert all('bbox_stds mean nothing' in line for line in lines)


@pytest.mark.parametrize(
    'stored',
    [
        "rpn_head=dict(\n  in_channels=8,\n  type=\n    'mmdet.RPNHead')",
        "rpn_head={'type': 'RPNHead'}",
        '{"rpn_head": {"type": "RPNHead"}}',
        b'rpn_head=dict(type="RPNHead")',
        'rpn_head=dict(type=mmdet.models.dense_heads.RPNHead)',
        dict(rpn_head=dict(type='mmdet.models.dense_heads.RPNHead')),
        Config(dict(model=dict(rpn_head=dict(type='RPNHead')))),
        ')))rpn_head=dict(type="RPNHead"',
    ],
)
@pytest.mark.parametrize('key', ['cfg', 'config'])
def test_stored_config_is_searched_in_any_form(stored, key, tmp_path):
    config = config_of()
    state = without_std_range(weights_of(config))
    path = save(tmp_path / 'given.pth', state, **{key: stored})
    message = message_of(None, 'RPNHead', 'KLRPNHead')
    with pytest.raises(ValueError, match=message):
        load_detector(config, path)


@pytest.mark.parametrize('suffix', ['', ' # was type="RPNHead"'])
def test_older_weights_of_kl_rpn_load(suffix, tmp_path):
    config = config_of()
    state = without_std_range(weights_of(config))
    text = config.pretty_text + suffix
    model = load_detector(config, save(tmp_path / 'old.pth', state, cfg=text))
    assert model.rpn_head.std_range.tolist() == pytest.approx([0.03, 1.0])


@pytest.mark.parametrize('half', [False, True])
def test_another_range_of_stds_is_logged_and_the_config_s_is_kept(
    half, tmp_path
):
    state = weights_of(config_of(min_std=0.1, neg_std=3.0))
    if half:
        state = {k: v.half() for k, v in state.items()}
    path = save(tmp_path / 'given.pth', state)
    with warnings_logged() as lines:
        load_detector(config_of(min_std=0.1, neg_std=3.0), path)
    assert not lines
    with warnings_logged() as lines:
        model = load_detector(config_of(), path)
    (line,) = lines
    assert re.search(r'rpn_head: .* = \[0\.\d+, 3\.0\], but .* \[0\.0', line)
    assert model.rpn_head.std_range.tolist() == pytest.approx([0.03, 1.0])


def test_an_optimizer_does_not_see_the_range_and_ema_keeps_it():
    head = MODELS.build(dict(type='KLRPNHead', in_channels=4))
    assert 'std_range' not in dict(head.named_parameters())
    average = ExponentialMovingAverage(head, 0.1, update_buffers=True)
    for _ in range(50):
        average.update_parameters(head)
    assert torch.equal(average.module.std_range, head.std_range)
