"""What a detector is built of, in words, whatever its config says."""

import inspect
from typing import Dict, Iterator, Tuple

import torch
from torch import nn

from mmdet_klrpn.apis import predicting_detector, rpn_head
from mmdet_klrpn.models import KLRPNHead

# Endings of the attributes that hold parts with rows of their own.
_PARTS = (
    *('assigner', 'sampler', 'coder', 'generator', 'head', 'extractor'),
    *('roi_layers', 'stages', 'objectness_prior'),
)
# Arguments that other rows tell, or that say nothing about results.
_LEFT_OUT = (
    *('init_cfg', 'train_cfg', 'test_cfg', 'in_channels', 'base_sizes'),
    *('assigner', 'sampler', 'ga_assigner', 'ga_sampler'),
    *('debug', 'featmap_strides', 'spatial_scale'),
)


def describe(model: nn.Module) -> Dict[str, str]:
    """Describe a detector by the parts that it was built of.

    A part is its class and its arguments: all numbers but -1, mmdet's "none",
    and whatever else is not the default. Texts are by the part's place in the
    detector, such as 'rpn_head.assigner'.

    Raises:
        ValueError: If it has no RPN head.
    """
    model = predicting_detector(model)
    head = rpn_head(model)
    rows = dict(_rows(head, 'rpn_head'))
    rows['rpn_head convolutions'] = '; '.join(
        f'{name} {"x".join(map(str, conv.kernel_size))}, '
        f'{conv.in_channels} to {conv.out_channels}'
        for name, conv in head.named_modules()
        if hasattr(conv, 'kernel_size')
    )
    proposals = (model.train_cfg or {}).get('rpn_proposal')
    if proposals:
        rows['train_cfg.rpn_proposal'] = _show(proposals)
    millions = {'all': sum(p.numel() for p in model.parameters()) / 1e6}
    for name, part in model.named_children():
        millions[name] = sum(p.numel() for p in part.parameters()) / 1e6
        if name == 'roi_head':
            rows.update(_rows(part, name))
        elif part is not head and name != 'data_preprocessor':
            rows[name] = _part(part)
    rows['parameters'] = ', '.join(
        f'{name} {number:.2f} M' for name, number in millions.items() if number
    )
    return rows


def _rows(part: object, name: str) -> Iterator[Tuple[str, str]]:
    """Rows of a part and of the parts in it."""
    yield name, _part(part)
    for config in ('train_cfg', 'test_cfg'):
        settings = getattr(part, config, None)
        if isinstance(settings, dict):
            yield f'{name}.{config}', _show(settings)
    for label, inner in _inner_parts(part).items():
        is_list = isinstance(inner, (list, nn.ModuleList))
        texts = [
            dict(_rows(each, '')) for each in (inner if is_list else [inner])
        ]
        if all(rows == texts[0] for rows in texts):
            texts = texts[:1]
        for i, rows in enumerate(texts):
            number = f'.{i}' * (len(texts) > 1)
            for row, text in rows.items():
                yield f'{name}.{label}{number}{row}', text


def _inner_parts(part: object) -> Dict[str, object]:
    """Parts in a module that matter for results, by their attributes."""
    if not isinstance(part, nn.Module):
        return {}  # samplers hold themselves, and OHEM's the heads
    found = {**part._modules, **vars(part)}
    if isinstance(part, KLRPNHead):
        # It builds the losses of its parent, and computes others.
        found['loss_cls'] = found.pop('loss_kl')
        found['loss_bbox'] = found.pop('loss_mean', None) or found['loss_cls']
    elif not found.get('with_cls', True):
        del found['loss_cls']
    return {
        name: value
        for name, value in found.items()
        if name.startswith('loss_') or name.endswith(_PARTS)
        if not _show(value)
    }


def _part(part: object) -> str:
    """The class of a part and its arguments."""
    defaults = {}
    for kind in reversed(type(part).__mro__):
        if '__init__' in vars(kind):
            for given in inspect.signature(kind.__init__).parameters.values():
                defaults[given.name] = given.default
    texts = []
    for name, default in defaults.items():
        value = vars(part).get(name.replace('target_', ''))
        text, is_number = _show(value), type(value) in (int, float)
        if value is None or name in _LEFT_OUT or text in ('', '-1'):
            continue
        if is_number or name == 'target_stds' or text != _show(default):
            texts.append(f'{name} {text}')
    return ': '.join(filter(None, [type(part).__name__, ', '.join(texts)]))


def _show(value: object) -> str:
    """A plain value as text, '' if it is none."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return f'{value:.3g}'
    if isinstance(value, dict):
        items = ((k, _show(v)) for k, v in value.items() if k not in _LEFT_OUT)
        return ', '.join(f'{key} {text}' for key, text in items if text)
    if isinstance(value, (list, tuple)):
        texts = [_show(item) for item in value]
        if len(texts) == 2 and texts[0] == texts[1]:
            return texts[0]
        return f'[{", ".join(texts)}]' if all(texts) else ''
    return str(value) if isinstance(value, (int, str, type(None))) else ''
