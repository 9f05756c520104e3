"""The command klrpn: its help, and that it runs the tools."""

import sys

import mmengine.runner
import pytest
from conftest import ROOT, run
from mmengine.config import Config

from mmdet_klrpn import __main__ as klrpn
from mmdet_klrpn.utils import mmdet_tools


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command in this process: its status and what it printed."""
    # Both change mmengine for good.
    monkeypatch.setattr(mmdet_tools, 'prepare_launcher', lambda _: None)
    monkeypatch.setattr(mmengine.runner, 'Runner', mmengine.runner.Runner)

    def _call(*words):
        monkeypatch.setattr(sys, 'argv', ['klrpn', *map(str, words)])
        code = 0
        try:
            klrpn.main()
        except SystemExit as exit_:
            code = exit_.code
        return code, ''.join(capsys.readouterr())

    return _call


def test_help_has_a_line_for_each_command(call):
    code, text = call('--help')
    assert code == 0
    lines = text.splitlines()[-len(klrpn.COMMANDS) :]
    for name, line in zip(klrpn.COMMANDS, lines):
        assert line.split()[0] == name
        assert 40 < len(line) < 80


def test_an_unknown_command_is_refused(call):
    code, text = call('trian')
    assert code == 2
    assert "invalid choice: 'trian' (choose from" in text


@pytest.mark.parametrize('command', klrpn.COMMANDS)
def test_help_of_a_command_is_under_its_name(call, command):
    code, text = call(command, '--help')
    assert code == 0
    assert text.startswith(f'usage: klrpn {command} [-h] ')
    assert '(default: None)' not in text
    assert '--debug' in text or command in ('train', 'test')


@pytest.mark.parametrize(
    ('command', 'lines'),
    [
        ('convert', ['--out OUT   config to write (required)']),
        ('visualize', ['per image (default: 30)', 'folder (required)']),
        ('calibrate', ['max images per split (default: 2000)']),
        ('export', ['include backbone and neck\n']),
    ],
)
def test_help_shows_defaults_and_what_is_required(call, command, lines):
    _, text = call(command, '--help')
    assert ' --out OUT' in text
    assert '[--out' not in text
    for line in lines:
        assert line in text


def test_a_command_runs_its_tool_from_any_folder(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = sys.modules['__main__']
    words = ('convert', 'htc_r50_fpn_1x_coco', '--out', 'kl-rpn.py')
    assert call(*words) == (0, 'kl-rpn.py: htc_r50_fpn_1x_coco with KL-RPN\n')
    config = Config.fromfile('kl-rpn.py')
    assert config.model.rpn_head.type == 'KLRPNHead'
    code, _ = call(*words)
    assert code == 'klrpn convert: kl-rpn.py exists already'
    assert sys.modules['__main__'] is main


def test_options_are_spelt_alike(call):
    """An option of several commands means the same in each."""
    seen = {}
    for command in klrpn.COMMANDS:
        _, text = call(command, '--help')
        for word in text.split():
            if word.startswith('--'):
                seen.setdefault(word.strip('.,:[]'), set()).add(command)
    assert seen['--out'] >= {'convert', 'visualize', 'calibrate', 'export'}
    for option, commands in (
        ('--device', {'visualize', 'calibrate', 'recalibrate'}),
        ('--cfg-options', {*klrpn.COMMANDS} - {'convert', 'benchmark'}),
        ('--top', {'visualize', 'calibrate', 'recalibrate'}),
        ('--images', {'calibrate', 'recalibrate'}),
    ):
        assert seen[option] == commands
    assert not seen.keys() & {'--out-dir', '--proposals', '--output'}


@pytest.mark.slow
def test_python_m_and_a_clone_s_tool_do_the_same(tmp_path):
    wrong = ('no-such.py', '--out', tmp_path / 'out.py')
    python = (sys.executable, '-W', 'ignore')
    one = run(*python, '-m', 'mmdet_klrpn', 'convert', *wrong, check=False)
    other = run(*python, 'tools/misc/to_kl_rpn.py', *wrong, check=False)
    assert (
        f'klrpn convert: no-such.py is neither a file nor a config in {ROOT}'
        in one
    )
    assert one.replace('klrpn convert', 'to_kl_rpn.py') == other
