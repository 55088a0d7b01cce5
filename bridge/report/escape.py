"""Escaping of names for formats in which some of their characters are markup."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~$#]|(?<![^\W_])_|_(?![^\W_])|^[-+](?= )")
"""Characters with a meaning in Markdown. Underscores within a word and the signs of numbers have none."""
_FORMULA = ("=", "+", "-", "@")
"""Characters that start a formula in a spreadsheet."""


def one_line(text: str) -> str:
    """Return a text with a space in place of each line break and control character."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def terminal(text: str, style: str = "") -> Text:
    """Return a text for rich, in which brackets and colons are no markup."""
    from rich.text import Text

    return Text(one_line(text), style=style)


def markdown(text: str) -> str:
    """Return a text for a paragraph, a heading or a table cell of a Markdown page."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], one_line(text).lstrip())


def comma_separated(text: str) -> str:
    """Return a text for a CSV cell, with an apostrophe before it if a spreadsheet would compute it as a formula."""
    text = one_line(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def figure(text: str) -> str:
    """Return a text for matplotlib, with dollar signs escaped.

    Labels that begin with an underscore get a space before it, or matplotlib would leave them out of legends.
    """
    text = one_line(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
