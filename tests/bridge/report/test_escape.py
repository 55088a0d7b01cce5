"""Names with markup come out of every format as they are."""

import csv
import io

import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bridge.report import escape

NAMES = (
    "x [y[/x]",
    "[red]x[/red]",
    "a|b",
    "`a`",
    "a_b",
    "_a_",
    "*a*",
    "**a** <b>c</b>",
    "a\\|b\\",
    "$x$",
    "$x",
    "a$b$c",
    r"\$a$",
    "=1+1",
    "+1",
    "-x",
    "@SUM(A1)",
    "- x",
    "# x",
    "[a](b)",
    "&amp;",
    "~~a~~",
    ":smile:",
    "rl2:hidden=64",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_shows_the_name(name):
    console, table = Console(width=80, record=True, file=io.StringIO()), Table()
    table.add_column("method")
    table.add_row(escape.terminal(name))
    console.print(table)
    assert name in console.export_text()


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_the_name_in_a_cell_and_in_a_paragraph(name):
    page = f"| method | n |\n|---|---:|\n| {escape.markdown(name)} | 1 |\n\n{escape.markdown(name)} on gridnavi\n"
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    texts = [
        "".join(part.content for part in token.children or ())
        for token in tokens
        if token.type == "inline"
    ]
    assert texts == ["method", "n", name, "1", f"{name} on gridnavi"]
    parts = [part for token in tokens if token.children for part in token.children]
    assert {part.type for part in parts} <= {"text", "text_special"}


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_shows_the_name_and_its_legend_has_it(name):
    panel = Figure().subplots()
    panel.plot([0, 1], label=escape.figure(name))
    (shown,) = panel.legend().get_texts()
    plain, mathematics = shown._preprocess_math(shown.get_text())
    assert not mathematics
    assert plain.lstrip() == name


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_of_a_csv_file_is_a_formula(name):
    file = io.StringIO()
    csv.writer(file).writerow([escape.comma_separated(name), -0.5])
    ((cell, number),) = csv.reader(io.StringIO(file.getvalue()))
    assert cell == (f"'{name}" if name[0] in "=+-@" else name)
    assert number == "-0.5"


def test_signs_of_numbers_are_no_lists():
    assert escape.markdown("-0.025 ±0.029") == "-0.025 ±0.029"


def test_line_breaks_and_control_characters_are_spaces():
    for escaped in (
        escape.markdown,
        escape.comma_separated,
        escape.figure,
        lambda text: escape.terminal(text).plain,
    ):
        assert escaped("a\nb\rc\x1b[0m\u2028d").startswith("a b c ")
