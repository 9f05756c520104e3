"""The sweep over mmdet's configs as a page in Markdown."""

from typing import Dict

import mmdet

STEPS = ('built', 'one object', 'no object', 'predicted')
HEADER = f'| Config | {" | ".join(STEPS)} | Why |\n{"| --- " * 6}|'
Result = Dict[str, str]

# In the order of the page's counts.
WORKS = 'every step works'
SAME = "a step fails, with the config's own RPNHead as well"
REFUSED = 'refused by `to_kl_rpn.py`'
UNREADABLE = 'cannot be loaded at all'
OURS = 'a step fails with KL-RPN alone'
KINDS = (WORKS, SAME, REFUSED, UNREADABLE, OURS)


def kind(result: Result) -> str:
    """The kind of a result."""
    if not result['reason']:
        return WORKS
    if result['reason'].startswith('refused'):
        return REFUSED
    if result['reason'].startswith('cannot be loaded'):
        return UNREADABLE
    return SAME if result['parent'] == 'the same' else OURS


def row(name: str, result: Result) -> str:
    """A config's row, with the reason for every step that fails."""
    reason = result['reason'].replace('|', '\\|')
    if kind(result) == OURS:
        reason += f' (with RPNHead: {result["parent"]})'
    cells = [f'`{name}`', *(result[step] for step in STEPS), reason]
    return f'| {" | ".join(cells)} |'


def format_page(results: Dict[str, Result]) -> str:
    """The page: counts, then what fails, then what works."""
    kinds = {name: kind(result) for name, result in results.items()}
    counts = [(what, list(kinds.values()).count(what)) for what in KINDS]
    for step in STEPS:
        done = sum(result[step] == 'yes' for result in results.values())
        counts.append((f'step "{step}"', done))
    models = {result['model'] for result in results.values()} - {''}
    return PAGE.format(
        version=mmdet.__version__,
        configs=len(results),
        models=len(models),
        counts='\n'.join(f'| {what} | {count} |' for what, count in counts),
        header=HEADER,
        fails=_rows(results, kinds, KINDS[1:]),
        works=_rows(results, kinds, (WORKS,)),
    )


def _rows(results: dict, kinds: Dict[str, str], wanted: tuple) -> str:
    """Rows of some kinds: by kind, then by reason, then by name."""
    names = [name for name in sorted(results) if kinds[name] in wanted]
    names.sort(key=lambda name: results[name]['reason'])
    names.sort(key=lambda name: wanted.index(kinds[name]))
    return '\n'.join(row(name, results[name]) for name in names)


PAGE = """\
# KL-RPN in every config of mmdet

```bash
python tests/sweep.py --results sweep.json --table docs/sweep.md
```

This converts every config of mmdet {version} with an `RPNHead`, or a head that
inherits it, by `klrpn convert`, and tries it on a CPU. The {configs} configs,
including those that cannot be read to tell, have {models} different models;
each model is tried once.

| | Configs |
| --- | ---: |
| all | {configs} |
{counts}

Each model has its own architecture, width and depth, and random weights. Two
images of 128x128 pixels, or two frames, go through these steps:

- *one object*: loss and backward with an object in each image. Every parameter
  of the RPN head gets a finite gradient, and so does every other parameter
  that gets one with RPNHead, as distributed training requires.
- *no object*: the same without objects.
- *predicted*: a prediction in which every box is finite.

Limits:

- Data sets and pipelines are not tried. Proposals, samples and detections are
  capped, `SyncBN` becomes `BN`, and CARAFE, which mmcv has only for GPUs, runs
  in plain torch.
- SORT and DeepSORT have no loss of their own: their detector trains, as in
  mmdet.
- Detectors that fail below for lack of mmpretrain or motmetrics work in every
  step with mmpretrain 1.2.0 and motmetrics 1.4.0.
- `GARPNHead` and `EmbeddingRPNHead` do not inherit `RPNHead`: `to_kl_rpn.py`
  refuses their detectors, which are not listed.

## What fails, and why

{header}
{fails}

## What works

{header}
{works}
"""
