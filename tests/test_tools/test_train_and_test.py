"""The command-line tools as their users run them."""

import json
import os
import sys

import pytest
import torch
from conftest import ROOT, load_checkpoint, run, write_tiny_config
from mmdet.apis import DetInferencer
from processes import without_gpu

pytestmark = pytest.mark.slow


def scalars(work_dir):
    """Logged values of a training, by step."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    return [line for line in lines if 'loss' in line]


def test_training_logs_losses_and_diagnostics(trained):
    logged = scalars(trained)
    assert len(logged) == 4  # 7 images with objects, 2 a batch
    for line in logged:
        total = sum(
            value for key, value in line.items() if key.startswith('loss_')
        )
        assert line['loss'] == pytest.approx(total, rel=1e-4)
        assert line['rpn_num_pos'] > 0
        assert line['rpn_pos_std'] > 0.03
        assert line['rpn_neg_std'] > 0.03


def test_resume_goes_on_where_it_stopped(trained, tiny_config):
    work_dir = trained.with_name('resumed')
    train = (sys.executable, 'tools/train.py', tiny_config)
    run(*train, '--work-dir', work_dir)
    text = run(
        *(*train, '--work-dir', work_dir, '--resume'),
        *('--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=2'),
        'train_dataloader.batch_size=4',
    )
    assert 'resumed epoch: 1' in text
    assert 'Scaling the original LR by 2.0' in text
    assert load_checkpoint(work_dir / 'epoch_2.pth')['meta']['epoch'] == 2


KILLED = """
import os, signal, sys, runpy
from mmengine.fileio.backends import LocalBackend

put = LocalBackend.put

def killed(self, obj, filepath):
    if 'epoch_2' not in str(filepath):
        return put(self, obj, filepath)
    with open(filepath, 'wb') as file:
        file.write(obj[:len(obj) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

LocalBackend.put = killed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def assert_same_state(one, other):
    """Weights, and what the optimizer and the schedule go on from."""
    one, other = map(load_checkpoint, (one, other))
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
    states = [each['optimizer'].pop('state') for each in (one, other)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert one['optimizer'] == other['optimizer']
    assert one['param_schedulers'] == other['param_schedulers']


@pytest.fixture(scope='module')
def unbroken(tiny_config, tmp_path_factory):
    """Checkpoint of a training of two epochs that nothing stopped."""
    work_dir = tmp_path_factory.mktemp('unbroken')
    run(
        *(sys.executable, 'tools/train.py', tiny_config),
        *('--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=2'),
    )
    return work_dir / 'epoch_2.pth'


def test_killed_while_writing_a_checkpoint_goes_on_from_the_last(
    tiny_config, unbroken, tmp_path
):
    (tmp_path / 'killed.py').write_text(KILLED)
    train = ('tools/train.py', tiny_config, '--work-dir', tmp_path)
    options = ('--cfg-options', 'train_cfg.max_epochs=2')
    run(sys.executable, tmp_path / 'killed.py', *train, *options, check=False)
    with pytest.raises(RuntimeError, match='central directory'):
        torch.load(tmp_path / 'epoch_2.pth')
    part = tmp_path / 'epoch_2.pth'
    text = run(sys.executable, *train, '--resume', part, check=False)
    assert f'{part} is cut short' in text
    assert f'--resume {tmp_path / "epoch_1.pth"}' in text
    text = run(sys.executable, *train, '--resume', *options)
    assert 'resumed epoch: 1' in text
    assert_same_state(tmp_path / 'epoch_2.pth', unbroken)


def test_test_names_a_picture_in_place_of_a_checkpoint(tiny_config, tiny_data):
    picture = tiny_data / 'images' / '1.png'
    test = (sys.executable, 'tools/test.py', tiny_config, picture)
    text = run(*test, '--work-dir', tiny_data / 'test', check=False)
    assert text.splitlines()[-1].startswith(
        f'test.py: {picture} is a PNG picture'
    )


KILLING_HOOK = """
import os, signal
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class KillingHook(Hook):
    def after_train_iter(self, runner, batch_idx, **kwargs):
        if runner.epoch == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_within_an_epoch_ends_with_the_weights_of_an_unbroken_run(
    tiny_config, unbroken, tmp_path
):
    (tmp_path / 'killing_hook.py').write_text(KILLING_HOOK)
    config = tmp_path / 'killing.py'
    config.write_text(f"""
_base_ = '{tiny_config}'
custom_imports = dict(imports=['mmdet_klrpn', 'killing_hook'])
custom_hooks = [dict(type='KillingHook')]
""")
    path = f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'
    options = (
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_epochs=2',
    )
    train = (sys.executable, 'tools/train.py')
    text = run(
        *train, config, *options, env=dict(PYTHONPATH=path), check=False
    )
    assert 'Epoch(train) [2][1/4]' in text
    assert not (tmp_path / 'epoch_2.pth').exists()
    text = run(*train, tiny_config, '--resume', *options)
    assert 'resumed epoch: 1' in text
    assert_same_state(tmp_path / 'epoch_2.pth', unbroken)


# As Ctrl-C does, which processes in the background may ignore.
INTERRUPTING_HOOK = KILLING_HOOK.replace('epoch == 1', 'epoch == 0').replace(
    'os.kill(os.getpid(), signal.SIGKILL)', 'raise KeyboardInterrupt'
)


def test_mistakes_and_ctrl_c_take_a_line(tiny_config, tmp_path):
    (tmp_path / 'killing_hook.py').write_text(INTERRUPTING_HOOK)
    config = tmp_path / 'config.py'
    lines = [
        f"_base_ = '{tiny_config}'",
        "custom_imports = dict(imports=['mmdet_klrpn', 'killing_hook'])",
        "custom_hooks = [dict(type='KillingHook')]",
    ]
    config.write_text('\n'.join(lines))
    env = dict(PYTHONPATH=f'{tmp_path}:{os.environ.get("PYTHONPATH", ROOT)}')
    klrpn = (sys.executable, '-m', 'mmdet_klrpn', 'train')
    for option, last in (
        ('randomness.seed=0', 'stopped; run again with --resume to continue'),
        (
            'model.rpn_head.pos_top_k=3',
            'KLRPNHead: unknown pos_top_k (did you mean pos_topk?)',
        ),
        (
            'train_dataloader.dataset.data_prefix.img=none/',
            ".png' does not exist: put or link the data there, or set",
        ),
    ):
        command = (*klrpn, config, '--work-dir', tmp_path / 'work')
        text = run(*(*command, '--cfg-options', option), env=env, check=False)
        assert 'Traceback' not in text
        assert text.splitlines()[-1].startswith('klrpn train: ')
        assert last in text.splitlines()[-1]


def test_amp_without_a_gpu_says_so(tiny_config, tmp_path):
    text = run(
        *(sys.executable, 'tools/train.py', tiny_config),
        *('--amp', '--work-dir', tmp_path),
        env=without_gpu(),
        check=False,
    )
    assert 'only available training on gpu' in text


def test_test_evaluates_detections_and_proposals(trained, tiny_config):
    test = (sys.executable, 'tools/test.py', tiny_config)
    test += (trained / 'epoch_1.pth', '--work-dir', trained / 'test')
    assert 'coco/bbox_mAP' in run(*test)
    text = run(
        *(*test, '--cfg-options', 'model.type=RPN'),
        'test_evaluator.type=ProposalMetric',
    )
    assert 'proposal/AR@30' in text
    assert 'size mismatch' not in text
    assert 'missing keys' not in text


def test_dist_train_and_dist_test_without_a_gpu(tiny_config, tmp_path):
    run(
        *('tools/dist_train.sh', tiny_config, 2, '--work-dir', tmp_path),
        env=without_gpu(),
    )
    assert len(scalars(tmp_path)) == 2  # 7 images, 2 ranks with 2 a batch
    checkpoint = tmp_path / 'epoch_1.pth'
    text = run(
        *('tools/dist_test.sh', tiny_config, checkpoint, 2),
        *('--work-dir', tmp_path / 'test'),
        env=without_gpu(),
    )
    assert 'coco/bbox_mAP' in text


@pytest.mark.parametrize(
    'base',
    [
        'faster-rcnn_mobilenetv2_kl-rpn_24e_trees',
        'rfcn_mobilenetv2_kl-rpn_24e_trees',
    ],
)
def test_dist_train_of_the_paper_s_detectors(base, tiny_data, tmp_path):
    """Single map and R-FCN with OHEM, a rank without objects among them."""
    base = ROOT / f'tests/configs/{base}.py'
    config = write_tiny_config(tmp_path / 'config.py', tiny_data, base)
    options = ['train_dataloader.dataset.filter_cfg.filter_empty_gt=False']
    if base.stem.startswith('rfcn'):
        options.append('model.train_cfg.rcnn.sampler.type=OHEMSampler')
    run(
        *('tools/dist_train.sh', config, 2, '--work-dir', tmp_path),
        *('--cfg-options', 'train_dataloader.batch_size=1', *options),
        env=without_gpu(),
    )
    logged = scalars(tmp_path)
    assert len(logged) == 4  # 8 images, 2 ranks with 1 a batch
    assert all(abs(line['loss']) < 100 for line in logged)


@pytest.mark.parametrize(
    ('launcher', 'script'),
    [('pytorch', 'dist_train.sh'), ('slurm', 'slurm_train.sh')],
)
def test_a_launcher_that_started_nothing_says_what_to_use(
    tiny_config, launcher, script
):
    text = run(
        *(sys.executable, 'tools/train.py', tiny_config),
        f'--launcher={launcher}',
        env=without_gpu(),
        check=False,
    )
    assert f'use tools/{script}' in text


def test_inferencer_runs_a_trained_model(trained, tiny_config, tiny_data):
    inferencer = DetInferencer(
        str(tiny_config), str(trained / 'epoch_1.pth'), device='cpu'
    )
    image = str(tiny_data / 'images' / '1.png')
    (result,) = inferencer(image, no_save_vis=True)['predictions']
    assert set(result) == {'bboxes', 'labels', 'scores'}
    assert len(result['bboxes']) == len(result['scores'])


def test_config_saved_with_the_checkpoint_builds_alone(trained, tiny_config):
    saved = trained / tiny_config.name
    assert saved != tiny_config
    inferencer = DetInferencer(
        str(saved), str(trained / 'epoch_1.pth'), device='cpu'
    )
    assert type(inferencer.model.rpn_head).__name__ == 'KLRPNHead'


def test_every_script_is_executable():
    for script in (ROOT / 'tools').rglob('*.sh'):
        assert os.access(script, os.X_OK), script
