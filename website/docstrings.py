"""Extension of Griffe: docstrings, which are written for any reader of the code, as Markdown.

Formulas become MathML, roles such as ``:class:`Flow``` code, and examples with ``>>>`` blocks of code.
"""

import re
from typing import Any

from griffe import Class, Extension, Object
from latex2mathml.converter import convert

BLOCK = re.compile(r"^(?P<indent> *)\.\. math:: (.*(?:\n(?P=indent) +\S.*)*)", re.M)
INLINE = re.compile(r":math:`([^`]+)`")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
EXAMPLE = re.compile(r"(?:^(?P<indent> *)>>> .*\n?(?:(?P=indent).*\S.*\n?)*)+", re.M)
LINES = re.compile(r"^(Shapes?|Raises|Source|Returns|Units?): (?=\S)", re.M)


class MarkdownDocstrings(Extension):
    """Rewrites each docstring before its sections are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by Griffe."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
            if isinstance(obj, Class) and any(str(base).endswith("NamedTuple") for base in obj.bases):
                obj.docstring.value = re.sub("^Args:$", "Attributes:", obj.docstring.value, flags=re.M)


def as_markdown(text: str) -> str:
    r"""Return a docstring as Markdown.

    >>> as_markdown("As :class:`Flow`.\n\n>>> 1 + 1\n2\n")
    'As `Flow`.\n\n```pycon\n>>> 1 + 1\n2\n```\n'
    >>> as_markdown(">>> torch.eye(2)\ntensor([[1., 0.],\n        [0., 1.]])\n")
    '```pycon\n>>> torch.eye(2)\ntensor([[1., 0.],\n        [0., 1.]])\n```\n'
    >>> as_markdown(".. math:: z =\n          2 x").startswith('<div class="formula"><math')
    True
    >>> as_markdown("with :math:`z = 2 x`.").startswith("with <math"), as_markdown("with :math:`z`.")[-8:]
    (True, '</math>.')
    >>> as_markdown("Shapes: x ``(B, D)``.\nSource: the paper.")
    '**Shapes**: x ``(B, D)``.\n\n**Source**: the paper.'
    """
    text = BLOCK.sub(lambda match: f'{match[1]}<div class="formula">{mathml(match[2], "block")}</div>', text)
    text = INLINE.sub(lambda match: mathml(match[1], "inline"), text)
    text = ROLE.sub(r"`\1`", text)
    text = EXAMPLE.sub(lambda match: f"{match['indent']}```pycon\n{match[0].rstrip()}\n{match['indent']}```\n", text)
    text = LINES.sub(r"\n**\1**: ", text)
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n")


def mathml(formula: str, display: str) -> str:
    r"""Return a formula of LaTeX, which may have several lines, as MathML: ``block`` or ``inline``.

    The converter takes no sizes of ``\|`` and braces, and no ``\_`` in text: both would appear with the backslash.

    >>> "\\" in mathml(r"\Big\| \text{log\_det} \Big\|", "inline")
    False
    """
    formula = re.sub(r"\\[bB]igg?(?=\\[|{}])", "", " ".join(formula.split()))
    formula = re.sub(r"\\text\{[^}]*\}", lambda match: match[0].replace(r"\_", "_"), formula)
    return convert(formula, display=display)
