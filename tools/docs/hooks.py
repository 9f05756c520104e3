"""Hooks of mkdocs: pages of configs/, links into the repository, formulas.

Formulas become MathML, which browsers show without scripts. Pages must not
load scripts, styles or fonts from elsewhere; this is checked.
"""

import html
import logging
import os
import re
from pathlib import Path
from typing import Dict, List

import yaml
import ziamath
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
READMES = {
    readme: f'configs/{readme.parent.name}.md'
    for readme in sorted(ROOT.glob('configs/*/README.md'))
}
METAFILES = '<!-- metafiles -->'
LINK = re.compile(r'(!?)\[((?:[^][]|\[[^]]*\])*)\]\(([^)\s]+)\)')
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL
)
# For readers without a font for formulas.
FONT = Path(ziamath.__file__).parent / 'fonts' / 'STIXTwoMath-Regular.ttf'
ELSEWHERE = re.compile(
    r'<(?:script|img|iframe|link[^>]* rel="(?:stylesheet|preconnect)")[^>]*'
    r' (?:src|href)="((?:https?:)?//[^"]*)'
)
log = logging.getLogger('mkdocs.hooks')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the descriptions of configs/ as pages, and the font."""
    font = File.generated(config, FONT.name, abs_src_path=str(FONT))
    files.append(font)
    for readme, page in READMES.items():
        files.append(File.generated(config, page, abs_src_path=str(readme)))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Fill in the table of configs, and redirect links to their targets."""
    if METAFILES in markdown:
        markdown = markdown.replace(METAFILES, config_tables())
    source = Path(page.file.abs_src_path)

    def lead(match: re.Match) -> str:
        image, text, target = match.groups()
        path, _, anchor = target.partition('#')
        if ':' in path or not path:
            return match.group()
        aim = Path(os.path.normpath(source.parent / path))
        if not aim.exists():
            log.warning('%s links to %s, which is not there', source, target)
        name = site_name(aim, config)
        if name:
            folder = os.path.dirname(page.file.src_uri)
            path = os.path.relpath(name, folder or '.')
            return f'{image}[{text}]({path}{"#" * bool(anchor)}{anchor})'
        if config.repo_url:
            path = aim.relative_to(ROOT).as_posix()
            return f'[{text}]({config.repo_url}/blob/main/{path})'
        return text

    return LINK.sub(lead, markdown)


def site_name(aim: Path, config: MkDocsConfig) -> str:
    """Name in the site of a file or folder of the repository, '' if none."""
    name = READMES.get(aim, READMES.get(aim / 'README.md'))
    if name:
        return name
    docs = Path(config.docs_dir)
    return aim.relative_to(docs).as_posix() if docs in aim.parents else ''


def on_page_content(content: str, **kwargs) -> str:
    """Turn formulas into MathML."""

    def formula(match: re.Match) -> str:
        kind, latex = match.groups()
        display = 'block' if kind == 'div' else 'inline'
        mathml = convert(html.unescape(latex).strip(), display=display)
        return mathml if kind == 'span' else f'<div class=math>{mathml}</div>'

    return FORMULA.sub(formula, content)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Check that a page loads nothing from elsewhere."""
    for url in ELSEWHERE.findall(output):
        log.warning('%s would load %s', page.file.src_uri, url)
    return output


def config_tables() -> str:
    """Tables of all configs by their data, from the metafiles."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    rows: Dict[str, List[str]] = {}
    for metafile in index['Import']:
        content = yaml.safe_load((ROOT / metafile).read_text())
        readmes = {c['Name']: c['README'] for c in content['Collections']}
        for model in content['Models']:
            facts, method = model['Metadata'], model['In Collection']
            rows.setdefault(facts['Training Data'], []).append(
                f'| [`{model["Name"]}`](../{model["Config"]}) '
                f'| [{method}](../{readmes[method]}) | {facts["Epochs"]} |'
            )
    head = '| Config | Described with | Epochs |\n| --- | --- | ---: |\n'
    return '\n\n'.join(
        f'## {data}\n\n{head}' + '\n'.join(sorted(lines))
        for data, lines in rows.items()
    )
