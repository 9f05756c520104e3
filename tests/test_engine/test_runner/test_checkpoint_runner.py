"""Files that are no checkpoint of the model, and files that are."""

import os
import pickle
import zipfile
from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, RUNNERS
from mmengine.model import BaseModel
from mmengine.runner import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from mmdet_klrpn.engine import CheckpointRunner
from mmdet_klrpn.engine.runner.checkpoint_file import what_is_wrong


class Small(BaseModel):
    def __init__(self, classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, classes)

    def forward(self):
        """Never called."""


class Proposing(BaseModel):
    def __init__(self, head):
        super().__init__()
        self.rpn_head = MODELS.build(dict(type=head, in_channels=4))

    def forward(self):
        """Never called."""


class Loop(BaseLoop):
    def run(self):
        return {}


def build(tmp_path, resume=False, load_from=None, classes=2, model=None):
    return CheckpointRunner(
        model or Small(classes),
        str(tmp_path),
        resume=resume,
        load_from=load_from and str(load_from),
        experiment_name=f'{tmp_path}-{os.urandom(4).hex()}',
        default_scope='mmdet',  # as it stays for the tests that follow
    )


def save(path, value=None, **kwargs):
    torch.save(Small().state_dict() if value is None else value, path)
    return path


def truncated(path):
    save(path)
    path.write_bytes(path.read_bytes()[:-100])


def damaged(path):
    save(path, dict(weights=torch.ones(1000)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def picture(suffix):
    def write(path):
        image = np.zeros((8, 8, 3), np.uint8)
        path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())

    return write


def zip_archive(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('epoch_1/other.txt', 'no pickle')


FOREIGN = {
    'empty': (lambda path: path.write_bytes(b''), 'is empty'),
    'truncated': (truncated, r'is cut short: its \d+ bytes end within'),
    'PNG': (picture('.png'), 'is a PNG picture'),
    'JPEG': (picture('.jpg'), 'is a JPEG picture'),
    'web page': (lambda x: x.write_text('<!doctype html>'), 'is a web page'),
    'LFS': (
        lambda x: x.write_text('version https://git-lfs.github.com/spec/v1'),
        'is a Git LFS pointer',
    ),
    'text': (
        lambda x: x.write_text('abc'),
        "is no .*, for it starts with b'abc'",
    ),
    'zip': (zip_archive, 'is a zip archive, but not of torch.save'),
    'pickled list': (
        lambda x: x.write_bytes(pickle.dumps([1, 2])),
        'is a pickle, but no whole one of torch.save',
    ),
    'list': (lambda x: save(x, [1, 2]), 'holds a list, not a dict'),
    'number': (lambda x: save(x, 3), 'holds a plain value, not a dict'),
    'tensor': (
        lambda x: save(x, torch.ones(2)),
        'holds an object made by torch._utils._rebuild_tensor_v2',
    ),
    'model': (
        lambda x: save(x, nn.Linear(1, 1)),
        'holds an object made by torch.nn.modules.linear.Linear',
    ),
    'missing': (lambda path: None, 'is no file'),
}


@pytest.mark.parametrize('name', FOREIGN)
def test_what_is_no_checkpoint_is_named(name, tmp_path):
    write, reason = FOREIGN[name]
    path = tmp_path / 'given.pth'
    write(path)
    message = rf'given\.pth {reason}.*: give the path of a whole checkpoint'
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, load_from=path).load_or_resume()


def test_damage_within_a_file_is_found(tmp_path):
    """Torch itself loads it, wrong numbers and all."""
    damaged(tmp_path / 'given.pth')
    reason = what_is_wrong(str(tmp_path / 'given.pth'))
    assert reason == 'is damaged: given/data/0 in it differs from its checksum'


@pytest.mark.parametrize('name', ['empty', 'truncated', 'missing'])
def test_resume_names_the_newest_checkpoint_that_is_whole(name, tmp_path):
    for i, epoch in enumerate((1, 2, 3)):
        path = save(tmp_path / f'epoch_{epoch}.pth')
        os.utime(path, (i, i))
    truncated(tmp_path / 'epoch_3.pth')
    last = tmp_path / 'epoch_4.pth'
    FOREIGN[name][0](last)
    (tmp_path / 'last_checkpoint').write_text(str(last))
    message = (
        rf'epoch_4\.pth, which .*last_checkpoint names, {FOREIGN[name][1]}.*: '
        rf'go on from .* by --resume {tmp_path}/epoch_2\.pth$'
    )
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, resume=True).load_or_resume()
    message = rf'epoch_4\.pth {FOREIGN[name][1]}.*--resume .*epoch_2\.pth$'
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, resume=True, load_from=last).load_or_resume()


def test_resume_by_an_empty_last_checkpoint(tmp_path):
    """Killed between opening that file and writing to it."""
    save(tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('')
    message = r'nothing, which .*names, is no file.*--resume .*epoch_1\.pth$'
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, resume=True).load_or_resume()


def test_resume_without_another_checkpoint(tmp_path):
    truncated(tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    message = r'has no other: train anew, without --resume'
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, resume=True).load_or_resume()


@pytest.mark.parametrize(
    'state',
    [
        dict(state_dict=OrderedDict(backbone=torch.ones(1))),
        dict(backbone=torch.ones(1)),
        dict(epoch=3),
        {name: torch.ones(7) for name in Small().state_dict()},
    ],
    ids=['names', 'bare names', 'no tensor', 'shapes'],
)
def test_another_model_is_named(state, tmp_path):
    path = save(tmp_path / 'given.pth', state)
    message = (
        r'given\.pth holds another model: of its \d entries \(\w+.* none fits '
        r'the 4 parameters of this Small \(conv\.weight, .*init_cfg'
    )
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, load_from=path).load_or_resume()


def test_a_checkpoint_that_fits_in_part_is_logged_loudly(tmp_path, capsys):
    path = save(tmp_path / 'given.pth')
    runner = build(tmp_path, load_from=path, classes=3)
    runner.load_or_resume()
    text = capsys.readouterr().out
    assert 'WARNING' in text
    assert f'{path} fits this Small in part: 2 of its 4 parameters' in text
    assert '(fc.weight, fc.bias)' in text
    weights = torch.load(path)['conv.weight']
    assert torch.equal(runner.model.conv.weight, weights)


def test_a_checkpoint_that_fits_in_part_is_not_resumed_from(tmp_path):
    path = save(tmp_path / 'given.pth')
    runner = build(tmp_path, resume=True, load_from=path, classes=3)
    with pytest.raises(RuntimeError, match=r'in part.*without --resume'):
        runner.load_or_resume()


def test_weights_alone_are_not_resumed_from(tmp_path):
    path = save(tmp_path / 'given.pth')
    message = rf"has no 'meta', for it holds weights.*load_from={path}"
    with pytest.raises(RuntimeError, match=message):
        build(tmp_path, resume=True, load_from=path).load_or_resume()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('wrapped', [True, False])
def test_a_good_file_is_loaded_without_a_word(
    zipped, wrapped, tmp_path, capsys
):
    state = Small().state_dict()
    path = tmp_path / 'given.pth'
    torch.save(
        dict(state_dict=state, meta={}) if wrapped else state,
        path,
        _use_new_zipfile_serialization=zipped,
    )
    runner = build(tmp_path, load_from=path)
    runner.load_or_resume()
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, state[name])
    assert 'WARNING' not in capsys.readouterr().out


def test_an_error_that_is_not_the_file_s_is_left_as_it_is(
    tmp_path, monkeypatch
):
    runner = build(tmp_path, load_from=save(tmp_path / 'given.pth'))
    monkeypatch.setattr(runner.model, '_load_from_state_dict', None)
    with pytest.raises(TypeError, match='NoneType'):
        runner.load_or_resume()


def test_urls_are_left_to_mmengine(tmp_path):
    with pytest.raises(KeyError, match='none_such'):
        build(tmp_path, load_from='torchvision://none_such').load_or_resume()


def test_a_config_may_name_it():
    for name in ('CheckpointRunner', 'mmdet_klrpn.engine.CheckpointRunner'):
        assert RUNNERS.get(name) is CheckpointRunner


HEADS = pytest.mark.parametrize(
    ('trained', 'own'),
    [
        ('RPNHead', 'KLRPNHead'),
        ('KLRPNHead', 'RPNHead'),
        ('KLRPNHead', 'SparseRPNHead'),
    ],
)


def runner_of(own, trained, tmp_path):
    """A runner, and its model's weights as another head trained them."""
    model = Proposing(trained)
    text = f"model = dict(rpn_head=dict(type='{trained}'))"
    path = tmp_path / 'given.pth'
    save(path, dict(state_dict=model.state_dict(), meta=dict(cfg=text)))
    return build(tmp_path, load_from=path, model=Proposing(own)), model


@HEADS
@pytest.mark.parametrize('split', ['test', 'val'])
def test_a_test_of_the_wrong_head_is_refused(split, trained, own, tmp_path):
    runner, _ = runner_of(own, trained, tmp_path)
    setattr(runner, f'_{split}_loop', Loop(runner, DataLoader([0])))
    message = (
        rf'given\.pth: its rpn_head was trained as {trained}, but the config '
        rf'has {own}.*load_from'
    )
    with pytest.raises(RuntimeError, match=message):
        getattr(runner, split)()


@HEADS
def test_a_training_from_the_wrong_head_is_logged(
    trained, own, tmp_path, capsys
):
    runner, model = runner_of(own, trained, tmp_path)
    runner._train_loop = runner._val_loop = Loop(runner, DataLoader([0]))
    runner.load_or_resume()
    text = capsys.readouterr().out
    if own == 'KLRPNHead':
        assert text.count('bbox_stds mean nothing') == 1
        assert 'was trained as' not in text
    else:
        assert text.count('rpn_head was trained as KLRPNHead') == 1
    for name, value in runner.model.named_parameters():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize('head', ['KLRPNHead', 'RPNHead'])
def test_a_test_of_the_right_head_is_without_a_word(head, tmp_path, capsys):
    runner, _ = runner_of(head, head, tmp_path)
    runner._test_loop = Loop(runner, DataLoader([0]))
    runner.test()
    assert 'WARNING' not in capsys.readouterr().out
