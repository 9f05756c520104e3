"""Extension of griffe: convert Sphinx markup in docstrings to Markdown."""

import re

from griffe import Extension, Object

ROLE = re.compile(r':(?:class|func|meth|mod):`[~.]*([^`]+)`')
INLINE = re.compile(r':math:`([^`]+)`')
BLOCK = re.compile(r'^([ \t]*)\.\. math:: (.*(?:\n\1[ \t]+\S.*)*)', re.M)


class SphinxMarkup(Extension):
    """Cross-references become code, formulas those of the pages."""

    def on_object(self, *, obj: Object, **kwargs) -> None:
        """Rewrite a docstring as soon as its object is known."""
        if not obj.docstring:
            return
        text = BLOCK.sub(_block, obj.docstring.value)
        text = ROLE.sub(r'`\1`', text)
        obj.docstring.value = INLINE.sub(r'$\1$', text)


def _block(match: 're.Match') -> str:
    indent, formula = match.groups()
    return f'{indent}$$\n{indent}{" ".join(formula.split())}\n{indent}$$'
