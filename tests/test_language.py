"""The language of docstrings and pages: the subject first, the field's words, lines that fit a screen."""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bridge", "rl_algos", "llm_adapt", "experiments")
RELATIVE = {"What", "Who", "Whose", "Whether", "Where", "Which", "How", "When"}
PRIVATE = re.compile(r"\b(told|tells|said|says|asked|lived|shown)\b", re.IGNORECASE)
CODE = re.compile(r"``.*?``|`.*?`", re.DOTALL)
END_OF_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n\s*\n")
COLUMNS = 120


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, and the strings below assignments."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (own := ast.get_docstring(node)) is not None:
            yield own
        for above, below in zip(node.body, node.body[1:], strict=False):
            match above, below:
                case ast.Assign() | ast.AnnAssign(), ast.Expr(ast.Constant(str(text))):
                    yield inspect.cleandoc(text)


def sentences(text: str) -> list[str]:
    """The sentences of a docstring, without its code."""
    return [part for part in END_OF_SENTENCE.split(CODE.sub("", text)) if part.strip()]


def written() -> dict[str, list[str]]:
    """The docstrings of every file of the packages."""
    return {
        str(path.relative_to(ROOT)): list(docstrings(ast.parse(path.read_text())))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def worst(counts: Counter, total: int, limit: float, what: str) -> str:
    """The failure message: the share, and the files that have most of it."""
    found = counts.total()
    files = ", ".join(f"{name} {count}" for name, count in counts.most_common(12) if count)
    return (
        f"{found} of {total} {what} ({found / total:.1%}; below {limit:.1%} is asked for): {files}"
    )


def test_docstrings_open_with_their_subject():
    files, limit = written(), 0.03
    opening = Counter()
    for name, texts in files.items():
        for text in texts:
            first, *_ = END_OF_SENTENCE.split(text, maxsplit=1)
            word = re.split(r"\W", first, maxsplit=1)[0]
            opening[name] += word in RELATIVE and not first.endswith("?")
    total = sum(map(len, files.values()))
    message = worst(opening, total, limit, "docstrings open with a relative clause")
    assert opening.total() < limit * total, message


def test_sentences_use_the_words_of_the_field():
    files, limit = written(), 0.005
    private, total = Counter(), 0
    for name, texts in files.items():
        found = [sentence for text in texts for sentence in sentences(text)]
        private[name] = sum(PRIVATE.search(sentence) is not None for sentence in found)
        total += len(found)
    message = worst(
        private, total, limit, "sentences say told, tells, said, says, asked, lived or shown"
    )
    assert private.total() < limit * total, message


def pages() -> list[Path]:
    """The project's Markdown files, and none of a user's results."""
    inside = (ROOT / folder for folder in ("docs", "findings", *PACKAGES))
    return sorted(
        [*ROOT.glob("*.md"), *(page for folder in inside for page in folder.rglob("*.md"))]
    )


def long_lines(page: str) -> int:
    """Lines of prose that are wider than a screen; tables and fenced code may be."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return sum(len(line) > COLUMNS and not line.startswith("|") for line in prose.splitlines())


def test_pages_fit_a_screen():
    wide = Counter({str(page.relative_to(ROOT)): long_lines(page.read_text()) for page in pages()})
    assert not +wide, f"Lines of prose above {COLUMNS} columns: {(+wide).most_common(12)}"


def test_the_measures_find_what_they_should():
    """By hand: three docstrings, of which one opens with a relative clause; four sentences."""
    tree = ast.parse(
        '"""Whether it is told. ``says`` is code. Which one?"""\n'
        "x: int = 1\n"
        '"""Which one?"""\n'
        "def f():\n"
        '    """What it\n    returns."""\n'
    )
    found = list(docstrings(tree))
    assert found == [
        "Whether it is told. ``says`` is code. Which one?",
        "Which one?",
        "What it\nreturns.",
    ]
    assert [len(sentences(text)) for text in found] == [3, 1, 1]
    assert [bool(PRIVATE.search(text)) for text in sentences(found[0])] == [True, False, False]
    long = "x" * 121
    assert long_lines(f"{long}\n| {long} |\n```\n{long}\n```\n{long}\n") == 2
