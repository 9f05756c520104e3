"""Which errors become a line, and which keep their traceback."""

import errno
import os
import sys

import numpy as np
import pytest
from mmdet.registry import MODELS
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdet_klrpn.evaluation.functional import fit_std_scale
from mmdet_klrpn.models import KLRPNHead
from mmdet_klrpn.utils.command_line import ToolParser
from mmdet_klrpn.utils.errors import explain, one_line_errors

REGISTRY = Registry('part', scope='errors')
HEAD = dict(type='KLRPNHead', in_channels=4)


@REGISTRY.register_module()
class Whole:
    """Builds a part as detectors do, and helps itself to what is wrong."""

    def __init__(self, part=None, misuse=False):
        if part:
            REGISTRY.build(part)
        if misuse:
            Whole(parts=1)


REGISTRY.register_module(module=KLRPNHead)


def build_wrapped(config, registry, **_):
    """Build as mmengine 0.10.0 does, which wraps what building raises."""
    cls = obj_cls = registry.get(config['type'])
    args = {key: x for key, x in config.items() if key != 'type'}
    try:
        return obj_cls(**args)
    except Exception as e:
        raise type(e)(f'class `{cls.__name__}` in some/file.py: {e}')  # noqa: B904


build_wrapped.__code__ = build_wrapped.__code__.replace(
    co_name='build_from_cfg'
)


def caught(call, *args, **kwargs):
    with pytest.raises(BaseException) as info:  # noqa: PT011
        call(*args, **kwargs)
    return info.value


@pytest.fixture(params=['newer mmengine', 'older mmengine'])
def build(request, monkeypatch):
    if request.param == 'older mmengine':
        monkeypatch.setattr(REGISTRY, 'build_func', build_wrapped)
    return REGISTRY.build


@pytest.mark.parametrize(
    ('config', 'line'),
    [
        (
            dict(type='Whole', part=dict(HEAD, pos_top_k=3)),
            'KLRPNHead: unknown pos_top_k (did you mean pos_topk?)',
        ),
        (  # an option of a parent
            dict(type='Whole', part=dict(HEAD, feat_channel=3)),
            'KLRPNHead: unknown feat_channel (did you mean feat_channels?)',
        ),
        (dict(type='Whole', qq=1), 'Whole: unknown qq'),
        (
            dict(type='Whole', part=dict(type='KLRPNHead')),
            "KLRPNHead: 'in_channels' is missing",
        ),
        (
            dict(type='Whole', part=dict(HEAD, num_stds=3)),
            'num_stds must be 1 or 4, but got 3',
        ),
        (dict(type='Whole', misuse=True), None),
    ],
)
def test_options_of_a_config(build, config, line):
    assert explain(caught(build, config)) == line


def test_a_misspelt_class_of_a_config():
    error = caught(MODELS.build, dict(HEAD, type='KLRPNHaed'))
    line = 'KLRPNHaed (did you mean KLRPNHead?) is not in the registry mmdet'
    assert explain(error).startswith(line)
    error = caught(MODELS.build, dict(type='qq'))
    assert explain(error).endswith(
        'import the package that has it by custom_imports'
    )


def test_a_word_that_sets_nothing():
    parser = ToolParser()
    parser.add_cfg_options()
    error = caught(parser.parse_args, ['--cfg-options', 'a.b=1', 'c', '3'])
    assert explain(error) == '--cfg-options takes KEY=VALUE, but got c'


def test_errors_that_are_not_known():
    for call in (lambda: 1 / 0, lambda: {}['x'], lambda: int('x'), sys.exit):
        assert explain(caught(call)) is None
    # Of numpy, in a function of ours.
    error = caught(fit_std_scale, np.ones((2, 4)), np.ones((3, 4)))
    assert isinstance(error, ValueError)
    assert explain(error) is None
    # Raised while one of ours was handled.
    ours = caught(fit_std_scale, np.zeros((2, 4)), np.ones((2, 4)))
    assert explain(ours) == str(ours)
    error = IndexError('pop from empty list')
    error.__context__ = ours
    assert explain(error) is None


class Missing:
    """A data set of a file that is not there."""

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return open('data/coco/train2017/1.jpg')


@pytest.mark.parametrize('workers', [0, 1])
def test_a_missing_file_of_the_data(workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loader = DataLoader(Missing(), num_workers=workers)
    assert explain(caught(next, iter(loader))) == (
        f"'data/coco/train2017/1.jpg' does not exist in {tmp_path}: put or "
        'link the data there, or set data_root and ann_file in the config to '
        'where it is; docs/coco.md shows the folders'
    )
    path = tmp_path / 'no.json'
    line = explain(caught(path.read_text))
    assert line.startswith(f"'{path}' does not exist: put or link the data")
    path = tmp_path / 'no.pth'
    assert explain(caught(path.read_text)) == f"'{path}' does not exist"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    work_dir = str(tmp_path / 'file' / 'work')
    line = explain(caught(Runner, None, work_dir))
    assert line == (
        f"Not a directory: '{work_dir}': name another place by --work-dir or "
        '--out'
    )
    for number in (errno.EACCES, errno.EROFS):
        error = OSError(number, os.strerror(number), 'x')
        assert explain(error).startswith(f"{os.strerror(number)}: 'x': name")
    assert explain(OSError(errno.ENOSPC, 'No space left', 'x')) is None


@pytest.fixture
def argv(monkeypatch):
    words = ['/somewhere/klrpn convert', 'a', 'b']
    monkeypatch.setattr(sys, 'argv', words)
    return words


@one_line_errors('go on')
def fail(error=FileNotFoundError('x.pth can not be found.')):
    raise error


def test_a_line_goes_with_status_1(argv):
    assert caught(fail).code == 'klrpn convert: x.pth can not be found.'
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())
    assert argv[1:] == ['a', 'b']


def test_debug_keeps_the_traceback_and_is_no_option_of_a_tool(argv):
    argv.append('--debug')
    with pytest.raises(FileNotFoundError):
        fail()
    assert argv[1:] == ['a', 'b']


@pytest.mark.parametrize('name', ['', 'SIGTERM'])
def test_ctrl_c_says_how_to_go_on(argv, name, capsys):
    error = KeyboardInterrupt(name) if name else KeyboardInterrupt()
    assert caught(fail, error).code == 130
    line = f'klrpn convert: {name or "stopped"}; go on\n'
    assert capsys.readouterr().err == line
