"""A report's files, and its page."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from synthetic_results import NAMES, synthetic_results, write_examples

from mmdet_klrpn.benchmark.report import verdict, write_report
from mmdet_klrpn.benchmark.tables import DASH

VOID = {'meta', 'img', 'input', 'link', 'br'}


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers what tests need."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.links = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.ids += [attrs['id']] if 'id' in attrs else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp('small')
    results = synthetic_results()
    write_examples(root, results)
    paths = write_report(results, root / 'out')
    return results, root / 'out', paths


def test_every_file_is_there_and_named(small):
    results, out, paths = small
    assert sorted(paths) == sorted(p for p in out.rglob('*') if p.is_file())
    names = {path.relative_to(out).as_posix() for path in paths}
    assert {'index.html', 'report.md', 'results.csv'} <= names
    assert {'tables/built_rpn_kl-rpn.tex', 'plots/comparisons.pdf'} <= names
    frame = pd.read_csv(out / 'results.csv', keep_default_na=False)
    assert len(frame) == len(results.frame)
    again = pd.read_csv(out / 'comparisons.csv')
    assert again['difference'].tolist() == pytest.approx(
        results.comparisons['difference'].tolist()
    )


def test_markdown_shows_files_that_there_are(small):
    _, out, _ = small
    text = (out / 'report.md').read_text()
    assert '**KL-RPN is 4' in text
    assert 'nan' not in text.lower()
    links = re.findall(r'\]\(([^)]+)\)', text)
    assert len(links) > 15
    assert all((out / link).is_file() for link in links)
    lengths = {}
    for line in text.splitlines():
        if line.startswith('|'):
            cells = len(re.findall(r'(?<!\\)\|', line))
            assert lengths.setdefault('now', cells) == cells
        else:
            lengths.clear()


def test_the_page_needs_nothing_else(small):
    results, out, _ = small
    text = (out / 'index.html').read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert '<h1>Heads &lt;side by side&gt;</h1>' in text
    assert '2 of 5 seeds measured' in text
    bold = re.findall('<strong>(.*?)</strong>', text)
    # The verdict, the headline's cell and that of the comparison.
    assert len(bold) == 3 * results.comparisons['significant'].sum()
    anchors = [a['href'] for tag, a in page.tags if tag == 'a']
    assert {href[1:] for href in anchors} <= set(page.ids)
    for tag, attrs in page.tags:
        assert tag != 'img' or attrs['alt']
        assert tag not in ('link', 'iframe')
        for name in ('src', 'href', 'xlink:href'):
            link = attrs.get(name, '#')
            assert link.startswith(('#', 'data:image/jpeg;base64,'))
    addresses = set(re.findall(r'https?://[^\s"<]+', text))
    assert all(a.startswith('http://www.w3.org/') for a in addresses)


@pytest.mark.slow
def test_a_large_page_is_small_and_the_same(tmp_path):
    names = [*(f'Detector of a long name {i}' for i in range(9)), 'Zoo']
    results = synthetic_results(names, classes=80)
    write_examples(tmp_path, results, images=8)
    pages = []
    for out in (tmp_path / 'a', tmp_path / 'b'):
        paths = write_report(results, out)
        pages.append([path.read_bytes() for path in paths])
    assert pages[0] == pages[1]
    assert len(pages[0][0]) < 1_000_000
    Page(pages[0][0].decode())


def test_without_ap_there_are_dashes(tmp_path):
    results = synthetic_results(NAMES[:2])
    frame = results.frame
    frame = frame[~frame['metric'].str.match('AP|class|precision|second|FP')]
    rows = results.comparisons.merge(frame[['metric', 'at']].drop_duplicates())
    results = results._replace(frame=frame, comparisons=rows)
    write_report(results, tmp_path)
    text = (tmp_path / 'report.md').read_text()
    assert 'AP is not measured of both' in text
    assert f'| RPN | {DASH} | {DASH} |' in text
    assert 'plot_ar.svg' in text
    assert 'plot_ap.svg' not in text
    assert '## Classes' not in text


def test_detectors_alone_are_reported(tmp_path):
    results = synthetic_results()
    plan = results.plan._replace(compare=())
    results = results._replace(
        plan=plan, comparisons=results.comparisons.iloc[:0]
    )
    paths = write_report(results, tmp_path)
    assert tmp_path / 'tables' / 'detectors.csv' in paths
    assert tmp_path / 'tables' / 'comparisons.csv' not in paths


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, 'B is 2.3 AP above A** (95% over 5 + 5 seeds +1.8 to +2.9; over '
         'images +1.8 to +2.8; p = 0.001 after Holm).'),
        ({'difference': '**-2.3**'}, 'B is 2.3 AP below A**'),
        ({'difference': '+0.1'}, 'No difference shown: B minus A is +0.1 AP'),
        (
            {'difference': '+0.1', 'seeds': '1 + 1', 'p after Holm': DASH},
            '1 + 1 seeds: no verdict. B minus A is +0.1 AP',
        ),
        (
            {'difference': '+0.1', 'seeds': '5 + 1', 'p after Holm': DASH},
            '5 + 1 seeds: no verdict.',
        ),
        (
            {'difference': '+0.1', 'p after Holm': DASH},
            'No interval over images: no verdict.',
        ),
        ({'difference': DASH}, 'B and A: AP is not measured of both.'),
    ],
)  # fmt: skip
def test_verdicts(changes, expected):
    cells = {
        'difference': '**+2.3**',
        '95% over seeds': '+1.8 to +2.9',
        '95% over images': '+1.8 to +2.8',
        'p after Holm': '0.001',
        'seeds': '5 + 5',
        **changes,
    }
    text = verdict(('A', 'B'), cells, 'AP')
    assert expected in text
    assert text.startswith('**') == cells['difference'].startswith('**')
