"""Names as they are, in every format that reads some of their characters as markup."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~$#]|(?<![^\W_])_|_(?![^\W_])|^[-+](?= )")
"""Characters with a meaning in Markdown. An underscore within a word has none, nor has the sign of a number."""
_FORMULA = ("=", "+", "-", "@")


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters; each becomes a space."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def terminal(text: str, style: str = "") -> Text:
    """Return a text for rich, whose brackets and colons mean nothing."""
    from rich.text import Text

    return Text(one_line(text), style=style)


def markdown(text: str) -> str:
    """Return a text for a Markdown page: a paragraph, a heading or the cell of a table."""
    return _MARKDOWN.sub(lambda found: "\\" + found[0], one_line(text).lstrip())


def comma_separated(text: str) -> str:
    """Return a text for the cell of a CSV file, with an apostrophe before it if a spreadsheet would compute it."""
    text = one_line(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def figure(text: str) -> str:
    """Return a text for matplotlib: dollars are no mathematics, and no label is left out of a legend."""
    text = one_line(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
