"""The wheel in an environment of its own, used through mim.

The mim of OneDL's fork does not find the folder of a wheel, as docs/fork.md
says: there it is used with the editable install of the tests' environment.
"""

import shutil
import site
import sys
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path

import pytest
from conftest import (
    ROOT,
    load_checkpoint,
    run,
    write_tiny_config,
)
from processes import without_gpu
from slurm import PARTITION
from test_mmdet_configs import NAME, one_option

from mmdet_klrpn.__main__ import COMMANDS

pytestmark = pytest.mark.slow
FORK = any(d.metadata['Name'] == 'onedl-mim' for d in distributions())
MMDET = 'onedl-mmdetection' if FORK else 'mmdet'
EDITABLE = (ROOT / 'mmdet_klrpn' / '.mim' / 'tools').is_symlink()
fails_with_fork = pytest.mark.xfail(
    FORK, strict=True, reason='onedl-mim looks in the wrong folder'
)
NOT_SOURCES = ('.*', 'data', 'work_dirs', 'build', 'dist', '*.egg-info')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The package's wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    run(
        *(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--quiet'),
        *('--wheel-dir', folder, source),
        cwd=folder,
    )
    (built,) = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def wheel_python(wheel, tmp_path_factory):
    """Python with the wheel installed; the stack comes from this one's."""
    folder = tmp_path_factory.mktemp('env')
    venv.create(folder)
    interpreter = folder / 'bin' / 'python'
    (packages,) = folder.glob('lib/python*/site-packages')
    # A plain path: the editable install of the stack's environment, a .pth
    # file there, is not followed.
    parents = '\n'.join(site.getsitepackages())
    (packages / 'stack.pth').write_text(f'{parents}\n')
    run(
        *(sys.executable, '-m', 'pip', '--quiet', '--python', interpreter),
        *('install', '--no-deps', '--force-reinstall', wheel),
        cwd=folder,
    )
    where = run(
        interpreter,
        '-c',
        'import mmdet_klrpn; print(mmdet_klrpn.__file__)',
        cwd=folder,
    )
    assert str(packages) in where
    return interpreter


@pytest.fixture(scope='module')
def python(request):
    """Python with the package installed so that its mim finds it."""
    if not FORK:
        return request.getfixturevalue('wheel_python')
    if not EDITABLE:
        pytest.skip('the package is not installed with `pip install -e .`')
    return Path(sys.executable)


@pytest.fixture(scope='module')
def mim(python, tmp_path_factory):
    """Run mim in an empty folder."""
    folder = tmp_path_factory.mktemp('user')

    def call(*words, env=None):
        return run(python, '-m', 'mim', *words, cwd=folder, env=env)

    return call


@pytest.fixture(scope='module')
def config(tiny_data):
    """A config of a user's own."""
    return write_tiny_config(tiny_data / 'tiny_mim.py', tiny_data)


@pytest.fixture(scope='module')
def trained_by_mim(mim, config, tmp_path_factory):
    """Work folder of `mim train`."""
    work_dir = tmp_path_factory.mktemp('mim_train')
    mim('train', 'mmdet_klrpn', config, '--work-dir', work_dir)
    return work_dir


def test_installing_it_adds_neither_family(wheel):
    (name,) = [n for n in zipfile.Path(wheel).iterdir() if 'info' in n.name]
    text = (name / 'METADATA').read_text()
    required = Parser().parsestr(text).get_all('Requires-Dist')
    plain = [line for line in required if 'extra ==' not in line]
    assert any(line.startswith('torch') for line in plain)
    assert not [line for line in plain if 'mm' in line]
    for extra, mmcv in (('mim', 'mmcv'), ('mminstall', 'onedl-mmcv')):
        (line,) = [line for line in required if line.startswith(mmcv)]
        assert line.endswith(f'extra == "{extra}"')


def test_the_study_is_not_in_the_wheel(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any('/configs/kl_rpn/' in name for name in names)
    words = ('projects/', 'mobilenetv2', 'stamps', 'trees', 'screening')
    assert not [n for n in names if any(word in n for word in words)]


@fails_with_fork
def test_the_wheel_is_found(wheel_python, tmp_path):
    run(wheel_python, '-m', 'mim', 'search', 'mmdet_klrpn', cwd=tmp_path)


def test_plans_and_their_configs_are_in_the_wheel(wheel_python, tmp_path):
    code = """
from mmdet_klrpn.benchmark.configs import resolve
from mmdet_klrpn.benchmark.plan import load_plan
for name in ('coco_paper', 'coco_r50.yaml'):
    for detector in load_plan(name).detectors:
        print(resolve(detector).filename)
"""
    lines = run(wheel_python, '-c', code, cwd=tmp_path).splitlines()
    own = [line for line in lines if '/mmdet_klrpn/.mim/configs/' in line]
    mmdet = [line for line in lines if '/mmdet/.mim/configs/' in line]
    assert (len(own), len(mmdet)) == (10, 5)


def test_klrpn_is_a_command_of_the_wheel(wheel_python, tmp_path):
    klrpn = wheel_python.with_name('klrpn')
    for command in COMMANDS:
        text = run(klrpn, command, '--help', cwd=tmp_path)
        assert f'usage: klrpn {command} ' in text
    out = ('--out', tmp_path / 'kl-rpn.py')
    run(klrpn, 'convert', 'mask-rcnn_r50_fpn_1x_coco', *out, cwd=tmp_path)
    assert 'KLRPNHead' in out[1].read_text()
    plan = ('benchmark', 'run', 'coco_paper.yaml', '--seeds', '1', '--dry-run')
    assert 'seed 0: training' in run(klrpn, *plan, cwd=tmp_path)


def test_train_writes_a_checkpoint(trained_by_mim):
    assert (trained_by_mim / 'epoch_1.pth').exists()


def test_test_evaluates_it(mim, config, trained_by_mim):
    text = mim(
        *('test', 'mmdet_klrpn', config),
        *('--checkpoint', trained_by_mim / 'epoch_1.pth'),
        *('--work-dir', trained_by_mim / 'test'),
    )
    assert 'coco/bbox_mAP' in text


@fails_with_fork
def test_a_config_is_found_by_its_name(mim, tiny_data, tmp_path):
    options = [
        f'val_evaluator.ann_file={tiny_data}/annotations.json',
        *('model.backbone.init_cfg=None', 'model.backbone.depth=18'),
        *('model.neck.in_channels=[64,128,256,512]', 'train_cfg.max_epochs=1'),
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    ]
    for split in ('train', 'val'):
        options += [
            f'{split}_dataloader.dataset.data_root={tiny_data}/',
            f'{split}_dataloader.dataset.ann_file=annotations.json',
            f'{split}_dataloader.dataset.data_prefix.img=images/',
            f"{split}_dataloader.dataset.metainfo.classes=('tree',)",
        ]
    text = mim(
        *('train', 'mmdet_klrpn', 'faster-rcnn_r50_fpn_kl-rpn_1x_coco.py'),
        *('--work-dir', tmp_path, '--cfg-options', *options),
    )
    assert 'we find the config file' in text
    assert (tmp_path / 'epoch_1.pth').exists()


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_train_in_two_processes(mim, config, tmp_path, request, launcher):
    env = without_gpu()
    if launcher == 'slurm':
        env = request.getfixturevalue('slurm').env
    mim(
        *('train', 'mmdet_klrpn', config, '--work-dir', tmp_path),
        *('--launcher', launcher, '--gpus', 2),
        *('--gpus-per-node', 2, '--partition', PARTITION),
        env=env,
    )
    trained = load_checkpoint(tmp_path / 'epoch_1.pth')
    assert trained['meta']['iter'] == 2  # 7 images, 2 ranks with 2 a batch


def test_train_of_mmdet_takes_our_config_too(mim, config, tmp_path):
    mim('train', MMDET, config, '--work-dir', tmp_path)
    assert (tmp_path / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    ('package', 'models', 'engine'),
    [
        ('mmdet_klrpn', '', ''),
        # Mmdet imports no package of ours, but a class by its whole name.
        (MMDET, 'mmdet_klrpn.models.', 'mmdet_klrpn.engine.'),
    ],
)
def test_one_option_makes_kl_rpn_of_a_config(
    mim, tmp_path, package, models, engine
):
    text = mim(
        *('train', package, NAME, *one_option(tmp_path, f'{models}KLRPNHead')),
        f'default_hooks.resume_seed.type={engine}ResumeSeedHook',
    )
    assert 'loss_rpn_pos' in text
    assert 'ResumeSeedHook' in text
    assert (tmp_path / 'out' / 'epoch_1.pth').exists()


def test_run_finds_our_tools(mim, tmp_path):
    out = tmp_path / 'rpn_r50_fpn_kl-rpn_1x_coco.py'
    name = 'rpn_r50_fpn_1x_coco.py'
    mim('run', 'mmdet_klrpn', 'to_kl_rpn', name, '--out', out)
    assert 'KLRPNHead' in out.read_text()


def test_search_lists_our_models(mim):
    text = mim('search', 'mmdet_klrpn', '--field', 'model', 'epoch')
    assert 'faster-rcnn_r50_fpn_kl-rpn_1x_coco' in text


def test_gridsearch_trains_each_value(mim, config, tmp_path):
    mim(
        *('gridsearch', 'mmdet_klrpn', config),
        *('--work-dir', tmp_path / 'grid'),
        *('--search-args', '--optim_wrapper.optimizer.lr 1e-4 5e-4'),
    )
    folders = {path.parent.name for path in tmp_path.glob('*/epoch_1.pth')}
    assert folders == {
        f'grid_search_optim_wrapper.optimizer.lr_{lr}'
        for lr in ('0.0001', '0.0005')
    }


@pytest.mark.skipif(
    not EDITABLE,
    reason='the package is not installed with `pip install --editable`',
)
def test_editable_install_trains_from_the_root(tiny_config, tmp_path):
    # Each of the two finds it in one of these ways alone.
    script = Path(sys.executable).with_name('mim')
    mim = [script] if FORK else [sys.executable, '-m', 'mim']
    run(
        *(*mim, 'train', 'mmdet_klrpn', tiny_config),
        *('--work-dir', tmp_path),
    )
    assert (tmp_path / 'epoch_1.pth').exists()
