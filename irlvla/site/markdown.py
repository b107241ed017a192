r"""Markdown as notebooks write it, to HTML that needs no script: formulas become MathML when the page is made.

latex2mathml translates. Browsers draw MathML Core, which is less than it writes, and some LaTeX it leaves as it is;
`before` and `after` mend both, `mathml` refuses what still is not a formula.
"""

import re

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

BEFORE = (
    (r"\\(math[a-z]+)\s+([A-Za-z0-9])", r"\\\1{\2}"),  # \mathcal N: without braces the letter keeps its usual shape
    (r"\\arg\\(max|min)", r"\\operatorname{arg\1}"),  # latex2mathml does not know \arg
    (r"\{align(ed)?\}", r"{align*}"),  # `align` alone would number its lines, which no notebook does
)
AFTER = (
    (r"<mi>&#x0007E;</mi>", r"<mo>&#x0223C;</mo>"),  # \sim is a relation, not the tilde of the keyboard
    (r"<mo>([A-Za-z]{2,})</mo>", r"<mi>\1</mi>"),  # min, softmax: operators would stand far from their bracket
    (r' columnalign="([a-z]+)"', r' style="text-align: \1"'),  # not in MathML Core
    (r' width="negativethinmathspace"', r' width="-0.167em"'),  # no named widths in MathML Core
)


def mathml(latex: str, display: str) -> str:
    """A formula as a <math> element; `display` is "block" or "inline".

    Raises ValueError with the formula if it is malformed or has a command that cannot be translated.
    """
    for pattern, replacement in BEFORE:
        latex = re.sub(pattern, replacement, latex)
    try:
        formula = convert(latex.strip(), display=display)
    except Exception as error:  # latex2mathml has a dozen unrelated error classes
        raise ValueError(f"formula {latex.strip()!r} is malformed: {type(error).__name__}") from error
    left = re.search(r"\\\w*|merror|>&<", formula)
    if left:
        raise ValueError(f"formula {latex.strip()!r}: {left[0]!r} cannot be translated to MathML, write it otherwise")
    for pattern, replacement in AFTER:
        formula = re.sub(pattern, replacement, formula)
    return formula


class MathRenderer(IPythonRenderer):
    """nbconvert's renderer with MathML in place of formulas for MathJax."""

    def inline_math(self, body: str) -> str:
        """$...$"""
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        """$$...$$, in a box of its own that scrolls on narrow screens. A span, since it may stand in a paragraph."""
        return f'<span class="formula">{mathml(body, "block")}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        r"""\begin{align}...\end{align} and the like."""
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def markdown_to_html(source: str) -> str:
    """HTML of a Markdown text; headings get an id and an anchor. Raises ValueError at a formula it cannot set."""
    return MarkdownWithMath(renderer=MathRenderer(escape=False)).render(source)
