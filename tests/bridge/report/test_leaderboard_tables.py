"""The leaderboard as text: compact cells, lines of at most 80 characters, no colour needed, the same numbers as CSV."""

import csv
import dataclasses
import io

import pytest
from rich.console import Console

from bridge.evaluation.stats import Interval
from bridge.report import leaderboard_tables as tables
from bridge.report.leaderboard import Board, Cell, Column, Row

FAMILIES = {f"{name}:k=1": name for name in ("bandit", "gridnavi", "darkroom", "point_nav")}
AXES = ("reward_scale", "reward_sign", "action_permutation", "prior", "ring")
METHODS = (
    "zoo:icl_rl", "zoo:icl_ad", "zoo:icl_dpt", "zoo:rl2", "zoo:pearl", "zoo:mt", "zoo:lora_maml", "rl2", "icl_rl",
    "maml", "pearl", "mtrl", "mtrl_finetune", "lora_reward_icl_rl", "icl_then_lora_icl_rl", "full_reward_zoo:rl2",
)  # fmt: skip


def cell(mean: float, half: float = 0.12, families: int = 4, of: int = 4) -> Cell:
    interval = Interval(mean, mean - half, mean + half, 9, "trials")
    return Cell(dict.fromkeys(list(FAMILIES)[:families], interval), families == of)


def row(method: str, *cells: Cell, **about) -> Row:
    given = {"exact": "", "clue": "nothing", "supervision": "reward", "adapts": ""}
    ranks = {} if about.get("exact") else dict.fromkeys(FAMILIES, 12)
    return Row(method, given | about, dict.fromkeys(FAMILIES, 1), list(cells), ranks)


def board(rows: list[Row], columns: tuple[str, ...] = ("id", *AXES), **about) -> Board:
    splits = [dict.fromkeys(FAMILIES, f"shift/{c}/4" if c != "id" else c) for c in columns]
    given = {
        "track": "O",
        "episodes": (4, 4),
        "ceiling": "oracle",
        "families": FAMILIES,
        "unscored": [],
        "columns": [
            Column(c, None if c == "id" else 4, s) for c, s in zip(columns, splits, strict=True)
        ],
        "learned": [row for row in rows if not row.about["exact"]],
        "references": [row for row in rows if row.about["exact"]],
    }
    return Board(**(given | about))


def printed(shown: Board, width: int = 80, notes=None, **console) -> str:
    out = io.StringIO()
    Console(width=width, file=out, **console).print(tables.terminal(shown, width, notes))
    return out.getvalue()


def widest() -> Board:
    """Six columns of scores as wide as they get, and names of three words."""
    wide = [cell(0.97, 0.01), *(cell(-1.53) for _ in AXES)]
    return board(
        [
            row(method, *wide, supervision="reward, task in critic", adapts="context, gradient")
            for method in METHODS
        ]
    )


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.97, 0.96, 0.98), ".97±.01"),
        ((-1.53, -1.65, -1.41), "-1.53±.12"),
        ((-0.004, -0.004, -0.004), ".00±.00"),
        ((-0.25, -0.37, -0.13), "-.25±.12"),
        ((1.0, 0.9, 1.1), "1.00±.10"),
        ((-153.4, -165.4, -141.4), "-153±12"),
        ((0.5, float("nan"), float("nan")), ".50"),
    ],
)
def test_cells_are_compact(interval, text):
    assert tables.compact(Interval(*interval, 9, "trials")) == text


def test_eighty_characters_hold_whole_names_and_the_columns_that_fit_beside_them():
    text = printed(widest())
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("-1.53±.06") == 3 * len(METHODS)
    assert "\nlora_reward_icl_rl " in text
    assert "…" not in text
    assert "Not shown: prior, ring." in text


def test_a_wide_terminal_folds_nothing():
    lines = printed(widest(), width=140).splitlines()
    assert any(line.startswith("lora_reward_icl_rl  ") for line in lines)
    assert any("permutation" in line for line in lines)


def test_columns_that_do_not_fit_are_left_out_from_the_right():
    text = printed(widest(), width=50)
    assert max(map(len, text.splitlines())) <= 50
    assert 0 < text.count("-1.53±.06") < 5 * len(METHODS)
    assert "Not shown: " in text
    assert "ring." in text
    assert ".97±.01" in text


def test_no_colour_is_needed():
    plain = printed(widest(), color_system=None)
    assert "\x1b" not in plain
    assert printed(widest(), no_color=True, force_terminal=False) == plain


def test_rows_show_ranks_marks_and_what_is_missing():
    learned = row("rl2", cell(0.5, families=2), adapts="context, gradient")
    bayes = row("bayes", cell(0.9), exact="exact", supervision="prior")
    made = board([row("maml", cell(0.7), adapts="gradient"), learned, bayes], ("id",))
    heading, *rows = tables.grid(made, {"rl2": "undertrained on gridnavi"})
    assert heading == ["method", "id\nn=4", "rank", "mark"]
    assert rows == [
        ["maml", ".70±.06", "+ + + +", "r/g"],
        ["rl2^", "*.50±.08", "+ + + +", "r/cg"],
        ["bayes", ".90±.06", "", "=p"],
    ]
    assert "^ rl2: undertrained on gridnavi." in tables.legend(
        [made], {"rl2": "undertrained on gridnavi"}
    )
    assert "* is over fewer of them" in tables.legend([made])[0]
    assert tables.legend([made])[-1].startswith("With one training seed: 2, of 2 learned methods.")


def test_the_title_names_track_level_and_bounds():
    made = board([row("rl2", cell(1.0), cell(0.5))], ("id", "ring"))
    assert tables.title(made) == "Leaderboard: score (0 random, 1 oracle) on id and axes at level 4"
    shots = board([row("rl2", cell(1.0))], ("id",), track="C", episodes=(1, 1), ceiling="")
    assert tables.title(shots) == "Track C (1 episode shown): return on id, by family"
    own = board([row("rl2", cell(1.0))], ("id",), track="F", episodes=(1, 4), ceiling="")
    assert tables.title(own) == "Track F (1 to 4 episodes explored): return on id, by family"


def test_the_title_names_only_the_columns_that_there_are():
    """Without id, and with levels that differ; level 0 of a context's quality is a level, too."""
    made = board([row("rl2", cell(0.5))], ("ring",))
    assert tables.title(made) == "Leaderboard: score (0 random, 1 oracle) on axes at level 4"
    quality = Column("context_quality", 0, dict.fromkeys(FAMILIES, "shift/context_quality/0"))
    made = board([row("rl2", *[cell(0.5)] * 3)], ("id", "ring"))
    made = dataclasses.replace(made, columns=[*made.columns, quality])
    assert tables.title(made).endswith("on id and axes at their strongest level")
    assert tables.grid(made, {})[0][1:4] == ["id\nn=4", "ring/4\nn=4", "context_quality/0\nn=4"]


def test_the_legend_names_the_families_of_each_track():
    """Track C lacks two families, so the order of its ranks is another, and fewer have the axis."""
    two = dict(list(FAMILIES.items())[:2])
    own = board([row("rl2", cell(0.5), cell(0.5))], ("id", "ring"))
    shown = board([row("lora", cell(0.5), cell(0.5))], ("id", "ring"), track="C", families=two)
    shown.columns[:] = [
        Column("id", None, dict.fromkeys(two, "id")),
        Column("ring", 4, {next(iter(two)): "shift/ring/4"}),
    ]
    cells, ranks, *_ = tables.legend([own, shown])
    assert cells.endswith("± half of a 95% interval; ring on track C: bandit.")
    place, four = "Rank: place among learned methods on id", "bandit, gridnavi, darkroom, point_nav"
    assert ranks == (
        f"{place}; on track O by family ({four}); on track C by family (bandit, gridnavi); + is tenth or worse."
    )
    assert tables.legend([own])[1] == f"{place}, by family ({four}); + is tenth or worse."


def test_means_of_ranks_have_no_plus():
    many = FAMILIES | {f"family_{i}": f"family_{i}" for i in range(3)}
    made = board([row("rl2", cell(0.5))._replace(ranks=dict.fromkeys(many, 12))], families=many)
    assert tables.grid(made, {})[1][-2] == "12.0"
    assert tables.legend([made])[1] == (
        "Rank: place among learned methods on id, mean over families."
    )


def test_training_seeds_are_those_of_every_board():
    """Three methods; one of them has one seed on the first family, and two on the others."""
    two = dict.fromkeys(FAMILIES, 2)
    own = board([row("rl2", cell(0.5)), row("maml", cell(0.5))._replace(seeds=two)])
    some = row("lora", cell(0.5))._replace(seeds=two | {next(iter(two)): 1})
    said = tables.legend([own, board([some], track="C")])
    assert (
        "With one training seed: 1 and 1 on some families, of 3 learned methods. Their ± is for new trials of that "
        "run, not for new runs."
    ) in said
    lines = list(csv.DictReader(tables.comma_separated([board([some], ("id",))]).splitlines()))
    assert [line["seeds"] for line in lines] == ["1", "1", "2", "2", "2"]


def test_families_without_scores_are_named():
    made = board([row("rl2", cell(0.5))], ("id",), unscored=["mine"])
    assert tables.legend([made])[-1] == (
        "Left out, as they have no scores: mine. Scores need random play, and an oracle that earns more (or "
        "specialists, docs/gymnasium.md)."
    )


def test_nothing_to_show_is_explained():
    assert tables.legend([]) == [
        "There is no leaderboard: neither id nor scores (random and oracle) were played."
    ]


@pytest.mark.parametrize("name", ["x [y[/x]", "[red]x[/red]", "a|b"])
def test_a_name_with_markup_is_shown_as_it_is(name):
    made = board([row(name, cell(0.5))], ("id",))
    assert name in printed(made)
    assert name.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]") in tables.markdown(
        [made], []
    )


def test_the_page_has_findings_below_the_boards_and_every_column():
    page = tables.markdown([widest()], ["Best of 16: zoo:icl_rl."])
    assert page.startswith("# Results\n\n## Leaderboard: score")
    assert page.index("| zoo:icl_rl |") < page.index("Best of 16") < page.index("Rank: place among")
    assert "action_permutation n=4" in page


def test_the_csv_has_means_and_families():
    made = board([row("rl2", cell(0.5, 0.1, families=2), adapts="context")], ("id",))
    mean, *families = csv.DictReader(tables.comma_separated([made]).splitlines())
    assert (mean["family"], mean["families"], mean["of"], mean["rank"]) == ("", "2", "4", "")
    assert float(mean["high"]) == pytest.approx(0.5 + 0.1 / 2**0.5)
    assert [line["family"] for line in families] == list(FAMILIES)[:2]
    assert {(line["mean"], line["rank"], line["adapts"]) for line in families} == {
        ("0.5", "12", "context")
    }


@pytest.mark.parametrize("mark", ["=", "≈", "rt:", " r ", " h ", " a ", " I ", " p ", " c ", " g "])
def test_the_legend_explains_every_mark(mark):
    assert mark in f"{tables.MARKS} "
