#!/usr/bin/env python
"""Train a step and predict with KL-RPN in every config that mmdet ships.

Each config whose model holds an RPNHead, or a head that inherits it, is
converted by ``to_kl_rpn.py`` and built. Then it gets two tiny images: a
loss and its gradients with an object in each, then with none, then a
prediction. What fails is tried again with the config's own head, which tells
a limit of KL-RPN from one of mmdet or the machine. Results go to a JSON file
one by one, from which an interrupted run goes on, and to a page.
"""

import argparse
import hashlib
import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Dict, Iterator, List, NamedTuple, Set

import torch
from conftest import load_tool
from cpu_operators import cpu_operators
from mmdet.models.backbones.trident_resnet import TridentConv
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from sweep_table import STEPS, Result, format_page
from tiny_inputs import tiny_loss, tiny_prediction
from torch import nn

from mmdet_klrpn.utils.conversion import mmdet_configs, root_cause

# Numbers of proposals, samples and detections, or the RoI heads take minutes.
CAPS = dict(nms_pre=200, max_per_img=20, num=64)


class Attempt(NamedTuple):
    """What came of a model: each step's 'yes', 'no' or '-', and why not."""

    steps: Dict[str, str]
    reason: str
    unused: Set[str]  # parameters that no gradient reaches, by step


def config_names() -> List[str]:
    """Configs of mmdet that hold an RPNHead, or cannot be read to tell."""
    init_default_scope('mmdet')
    root = mmdet_configs()
    names = []
    for path in sorted(root.rglob('*.py')):
        if '_base_' in path.parts:
            continue
        try:
            # Without what else they import, which may not be installed.
            config = Config.fromfile(path, import_custom_modules=False)
            held = any(map(_is_rpn_head, _dicts(config.get('model'))))
        except Exception:  # the sweep reports it
            held = True
        if held:
            names.append(path.relative_to(root).as_posix())
    return names


def _dicts(node: object) -> Iterator[dict]:
    """Every dict in a nest of dicts and lists."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _dicts(value)


def _is_rpn_head(node: dict) -> bool:
    """Whether a part of a model is an RPNHead, or inherits it."""
    name = str(node.get('type')).replace('mmdet.', '', 1)
    # Other packages' modules are not asked for: they may not be installed.
    known = name in MODELS.module_dict
    return known and issubclass(MODELS.get(name), RPNHead)


def sweep(name: str, known: Dict[str, Result]) -> Result:
    """Convert one config of mmdet's, by its path there, and try it.

    The result of a config in ``known`` with the same model is taken over.

    Returns:
        dict[str, str]: 'yes', 'no' or '-' for each step; ``reason``, why
        not; ``parent``, what the model with its own head does; a hash of the
        ``model``.
    """
    result: Result = dict.fromkeys(STEPS, '-')
    result.update(reason='', parent='', model='')
    try:
        config = Config.fromfile(mmdet_configs() / name)
    except Exception as error:
        result['reason'] = f'cannot be loaded: {_line(error)}'
        return result
    parent = capped(config.model.to_dict())
    try:
        with TemporaryDirectory() as folder:
            out = Path(folder) / 'kl-rpn.py'
            load_tool('tools/misc/to_kl_rpn.py').write(name, out)
            model = capped(Config.fromfile(out).model.to_dict())
    except ValueError as error:
        result['reason'] = f'refused: {error}'
        return result
    text = json.dumps(model, sort_keys=True)
    result['model'] = hashlib.sha256(text.encode()).hexdigest()[:12]
    for other in known.values():
        if other['model'] == result['model']:
            return other
    init_default_scope('mmdet')
    ours = attempt(model)
    result.update(ours.steps, reason=ours.reason)
    if ours.reason or ours.unused:
        theirs = attempt(parent)
        unused = sorted(ours.unused - theirs.unused)
        result.update((line.split(':')[0], 'no') for line in unused)
        result['reason'] = '; '.join(filter(None, [ours.reason, *unused]))
        if result['reason']:
            same = result['reason'] == theirs.reason
            result['parent'] = 'the same' if same else theirs.reason or 'works'
    return result


def capped(node: object) -> object:
    """A model's config with few proposals, whatever weights it starts from.

    Nothing of the architecture is changed. Detections are kept however low
    their score, or random weights would leave the mask heads without any.
    """
    if isinstance(node, (list, tuple)):
        return type(node)(capped(value) for value in node)
    if not isinstance(node, dict):
        return node
    node = {key: capped(value) for key, value in node.items()}
    for key, cap in CAPS.items():
        if isinstance(node.get(key), int):
            node[key] = min(node[key], cap)
    if 'score_thr' in node:
        node['score_thr'] = 0.0
    if node.get('type') == 'MMSyncBN':  # needs a process group to be built
        node['type'] = 'SyncBN'
    if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
        node['init_cfg'] = None
    return node


def attempt(config: dict) -> Attempt:
    """Build a model without weights, train a step with and without objects."""
    steps, reasons, unused = dict.fromkeys(STEPS, '-'), [], set()
    torch.manual_seed(0)
    try:
        model = build(config)
    except Exception as error:
        steps['built'] = 'no'
        return Attempt(steps, f'built: {_line(error)}', unused)
    steps['built'] = 'yes'
    actions = (
        lambda: train(model, objects=1),
        lambda: train(model, objects=0),
        lambda: predict(model),
    )
    for step, action in zip(STEPS[1:], actions):
        try:
            with cpu_operators():
                left = action()
        except Exception as error:
            steps[step] = 'no'
            reasons.append(f'{step}: {_line(error)}')
        else:
            steps[step] = 'yes'
            unused.update(f'{step}: no gradient of {name}' for name in left)
    return Attempt(steps, '; '.join(reasons), unused)


def build(config: dict) -> nn.Module:
    """A model with torch's random weights, and the RPN head's own."""
    # SyncBN trains on GPUs alone; mmengine has this for such machines.
    model = revert_sync_batchnorm(MODELS.build(ConfigDict(config)))
    for module in model.modules():
        if isinstance(module, RPNHead):
            module.init_weights()
        elif isinstance(module, TridentConv):  # left to a checkpoint
            nn.init.kaiming_uniform_(module.weight)
    # So is the scale of ConvAWS2d, which it takes from weights without one.
    scale = ('.weight_gamma', '.weight_beta')
    weights = model.state_dict()
    weights = {k: v for k, v in weights.items() if not k.endswith(scale)}
    model.load_state_dict(weights, strict=False)
    return model


def train(model: nn.Module, objects: int) -> Set[str]:
    """Parameters that no gradient reaches from a loss on so many objects.

    Raises:
        FloatingPointError: If the loss or a gradient of the RPN head is not
            finite.
        RuntimeError: If no gradient reaches a parameter of the RPN head, for
            which distributed training would wait in vain.
    """
    model.train()
    model.zero_grad()
    loss, _ = model.parse_losses(tiny_loss(model, objects))
    if not torch.isfinite(loss):
        raise FloatingPointError('the loss is not finite')
    loss.backward()
    heads = {
        parameter
        for module in model.modules()
        if isinstance(module, RPNHead)
        for parameter in module.parameters()
    }
    unused = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            unused.add(name)
            if parameter in heads:
                raise RuntimeError(f'no gradient reaches {name}')
        elif parameter in heads and not torch.isfinite(parameter.grad).all():
            raise FloatingPointError(f'gradient of {name} is not finite')
    return unused


def predict(model: nn.Module) -> Set[str]:
    """A prediction, of which every box must be finite; an empty set."""
    model.eval()
    for boxes in tiny_prediction(model):
        if not torch.isfinite(boxes).all():
            raise FloatingPointError('a predicted box is not finite')
    return set()


def _line(error: Exception) -> str:
    """An error on one line."""
    error = root_cause(error)
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text.replace(str(mmdet_configs()), "")}'


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--results', type=Path, required=True)
    parser.add_argument('--table', type=Path, help='Markdown file to write')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    # Or it tells how each parameter was initialised.
    MMLogger.get_current_instance().setLevel('ERROR')
    results: Dict[str, Result] = {}
    if args.results.exists():
        results = json.loads(args.results.read_text())
    for name in config_names():
        if name not in results:
            results[name] = sweep(name, results)
            args.results.write_text(json.dumps(results, indent=1))
            print(f'{name}: {results[name]["reason"] or "works"}', flush=True)
    if args.table:
        args.table.write_text(format_page(results))


if __name__ == '__main__':
    main()
