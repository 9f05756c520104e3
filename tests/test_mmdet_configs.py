"""Configs of mmdet that one option turns into KL-RPN's."""

import re
import sys
from collections import Counter
from pathlib import Path

import mmengine
import pytest
from conftest import ROOT, write_tiny_data

from mmdet_klrpn.engine import CheckpointRunner
from mmdet_klrpn.utils import mmdet_tools, run_mmdet_tool
from mmdet_klrpn.utils.conversion import mmdet_configs

NAME = 'mask-rcnn_r50_fpn_1x_coco.py'
NAMES = (ROOT / 'configs' / 'mmdet.txt').read_text().split()


def one_option(folder, head='KLRPNHead'):
    """The option, and those that make a training of seconds of it."""
    write_tiny_data(folder, [[(10, 10, 40)], [(30, 40, 40)]], 'person')
    dataset = 'train_dataloader.dataset'
    return (
        *('--work-dir', folder / 'out'),
        *('--cfg-options', f'model.rpn_head.type={head}'),
        *('model.backbone.init_cfg=None', 'train_cfg.max_epochs=1'),
        *('val_cfg=None', 'val_dataloader=None', 'val_evaluator=None'),
        *(
            f'{dataset}.data_root={folder}/',
            f'{dataset}.pipeline.2.scale=(96,96)',
        ),
        f'{dataset}.ann_file=annotations.json',
        f'{dataset}.metainfo.classes=[person]',
        f'{dataset}.data_prefix.img=images/',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    )


def test_all_that_train_are_listed():
    """Those in which the sweep over mmdet's configs found every step well."""
    text = (ROOT / 'docs' / 'sweep.md').read_text()
    row = re.compile(r'^\| `([^`]+\.py)`(?: \| yes){4} \|', re.MULTILINE)
    assert row.findall(text) == NAMES
    assert (
        f'{len(NAMES)} train and predict' in (ROOT / 'README.md').read_text()
    )


def test_names_are_those_of_files_and_of_no_two():
    """Mim wants one file of a name."""
    for name in NAMES:
        assert (mmdet_configs() / name).is_file(), name
    own = [path.name for path in (ROOT / 'configs').rglob('*.py')]
    counts = Counter([Path(name).name for name in NAMES] + own)
    assert counts.most_common(1)[0][1] == 1


def test_a_tool_takes_a_config_of_mmdet_by_name(monkeypatch):
    """Through mim, test_mim.py trains one."""
    ran = []
    monkeypatch.setattr(sys, 'argv', ['train.py', NAME, '--amp'])
    monkeypatch.setattr(mmdet_tools, 'run_script', ran.append)
    monkeypatch.setattr(mmengine.runner, 'Runner', mmengine.runner.Runner)
    run_mmdet_tool('train.py')
    path = mmdet_configs() / 'mask_rcnn' / NAME
    assert sys.argv == ['train.py', str(path), '--amp']
    assert mmengine.runner.Runner is CheckpointRunner
    assert [path.name for path in ran] == ['train.py']


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_a_config_that_is_nowhere_is_named(tool, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [tool, 'no-such-config.py'])
    message = f'{tool}: no-such-config.py is neither a file nor a config in'
    with pytest.raises(SystemExit, match=message):
        run_mmdet_tool(tool)
