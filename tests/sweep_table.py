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

Written by `python tests/sweep.py --results sweep.json --table
docs/sweep.md`, from a run on a CPU with mmdet {version}. It lists
each config that mmdet ships whose model holds an `RPNHead`, or a head that
inherits it, and those that cannot be read to tell: {configs} configs. They
have {models} different models, each of which is tried once.

| | Configs |
| --- | ---: |
| all | {configs} |
{counts}

A config is converted by `klrpn convert`, and built in its own
architecture, width and depth, with random weights. Proposals, samples and
detections are capped, `SyncBN` becomes `BN`, and CARAFE, which mmcv has for
GPUs alone, runs in plain torch. Two images of 128x128 pixels, or two frames,
then go through:

- *one object*: loss and backward, an object in each image. Every parameter of
  the RPN head gets a finite gradient, and every other that gets one with
  RPNHead, as distributed training requires.
- *no object*: the same without any.
- *predicted*: a prediction in which every box is finite.

SORT and DeepSORT have no loss of their own: their detector trains, as in
mmdet. The detectors that lack mmpretrain or motmetrics below work in every
step where mmpretrain 1.2.0 and motmetrics 1.4.0 are installed. Data sets and
pipelines are not part of it. Detectors with a `GARPNHead` or an
`EmbeddingRPNHead`, which do not inherit `RPNHead`, are not listed;
`to_kl_rpn.py` refuses them.

## What fails, and why

{header}
{fails}

## What works

{header}
{works}
"""
