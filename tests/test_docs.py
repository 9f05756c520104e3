"""What the documentation says of the code."""

import re

import pytest
from conftest import ROOT

PAGES = sorted((ROOT / 'docs').glob('*.md'))
LINK = re.compile(r'\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)')


def test_each_row_of_robustness_names_a_test_that_exists():
    found = LINK.findall((ROOT / 'docs/robustness.md').read_text())
    assert len(found) > 100
    for name, file in found:
        assert f'def {name}(' in (ROOT / file).read_text(), (name, file)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_python_of_a_page_compiles(page):
    """Blocks that a reader copies; a placeholder is a string or a name."""
    for block in re.findall(
        r'^```python\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE
    ):
        compile(block, page.name, 'exec')
