"""Figures of made-up rows: what is drawn where, how heavy, and under which heading."""

import copy
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from bridge import parquet
from bridge.errors import StorageError
from bridge.evaluation import results
from bridge.report import figures
from bridge.report.figures import adaptation, drawing, improvement, iqm, learning, shift
from bridge.report.figures.looks import looks
from bridge.report.figures.scene import Scene, scene, seeds_and_trials
from bridge.report.learning import Curve
from bridge.report.summary import Key, Results
from tests.bridge.report.made_up import CONTEXT, bounds, played
from tests.bridge.report.test_report import synthetic
from tests.full_disk import full_disk

FAMILY = "gridnavi"
VALUES = {"slip": (0, 0.05, 0.1, 0.2, 0.4), "reward_scale": (1, 0.1, 0.3, 3, 10)}
MEANS = {"random": 1.0, "oracle": 5.0, "bayes": 4.5, "search": 3.0, "psrl": 2.5, "thompson": 2.0}
LEARNED = {"rl2": 3.5, "maml": 2.0}


def put(folder, method: str, split: str, mean: float, seeds: int, value: float, exact="near"):
    """Write rows of a method at a level of this value."""
    rows = synthetic(method, split, mean, seeds, tasks=6, trials=60, family=FAMILY)
    for name, one in (("shift_distance", float(value)), ("exact_reference", exact)):
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        rows = rows.set_column(place, field, pa.array([one] * len(rows)).cast(field.type))
    parquet.write(results.cell_path(folder, rows), rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two learned methods with three seeds and six references, on id and at the levels of two axes."""
    folder = tmp_path_factory.mktemp("results")
    levels = [(f"shift/{axis}/{n}", axis, n) for axis in VALUES for n in range(1, 5)]
    for split, axis, level in [("id", "", 0), *levels]:
        value = VALUES[axis][level] if axis else 0.0
        for method, mean in (MEANS | LEARNED).items():
            if method in LEARNED:
                harm = 0.3 * level * (2 if method == "rl2" else 1)
                put(folder, method, split, mean - harm, 3, value, exact="")
            elif method in ("random", "oracle") or split == "id":
                put(folder, method, split, mean, 1, value)
    return folder


@pytest.fixture(scope="module")
def whole(folder) -> Results:
    """Its results, and learning curves of the learned methods: rl2 is finished, and maml is not."""
    results = Results(folder)
    steps, rise = 1000 * np.arange(1, 11), np.arange(10) / 5
    results.learning = {
        FAMILY: {
            "rl2": {seed: Curve(steps, 3.4 + 0.1 * seed + 0 * rise, 50) for seed in range(3)},
            "maml": {seed: Curve(20 * steps, 1 + seed + rise, 50) for seed in range(3)},
        }
    }
    return results


@pytest.fixture
def read(whole) -> Results:
    return copy.deepcopy(whole)


def shown(read: Results) -> Scene:
    """The scene of track O."""
    return scene(read, FAMILY, "O", looks({}, read.methods(FAMILY)))


def lines(panel) -> dict[str, Any]:
    """The lines of a panel by their label."""
    handles, labels = panel.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_files_are_the_same_bytes_each_time(read, tmp_path):
    """PNG, SVG and PDF, without a date."""
    for name in ("one", "two"):
        with drawing.style():
            drawing.save(adaptation.draw(shown(read)), tmp_path / name)
    for suffix in ("png", "svg", "pdf"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
    assert b"CreationDate" not in first.read_bytes()


@pytest.mark.parametrize("room", [100, 1_000, 3_000, 10_000])
def test_a_disk_that_fills_up_in_any_format_is_an_error_of_storage(
    room, read, tmp_path, monkeypatch
):
    """Matplotlib's PDF writer hides it in an error of its own."""
    figure = adaptation.draw(shown(read))
    for suffix in drawing.FORMATS:
        monkeypatch.setattr(drawing, "FORMATS", {suffix: {}})
        with full_disk(room), pytest.raises(StorageError, match=f"one.{suffix}: the disk is full"):
            drawing.save(figure, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_every_track_has_figures_and_a_family_one_of_learning(read):
    for key in [key for key in read.about if key.method == "maml"]:
        read.about[key._replace(track="C")] = read.about.pop(key)
        read._curves[key._replace(track="C")] = read._curves.pop(key)
    names = [name for name, _ in figures.figures(read, FAMILY, looks({}, ["maml", "rl2"]))]
    assert names == ["curves", "shift", "iqm", "C-curves", "C-iqm", "learning"]


def test_levels_stand_at_their_values_and_rows_share_a_scale(read):
    """The axis of factors is logarithmic, and level 0 is between its other levels."""
    scale, slip = shift.draw(shown(read)).axes
    assert [panel.get_title() for panel in (scale, slip)] == ["reward_scale", "slip"]
    assert (scale.get_xscale(), slip.get_xscale()) == ("log", "linear")
    for panel, axis in ((scale, "reward_scale"), (slip, "slip")):
        values = sorted(VALUES[axis])
        assert panel.get_xticks().tolist() == values
        assert lines(panel)["rl2"].get_xdata().tolist() == values
        labels = [text.get_text() for text in panel.get_xticklabels()]
        zero = VALUES[axis][0]
        assert labels == [f"{x:g}" + "\nlevel 0" * (x == zero) for x in values]
        assert any(list(line.get_xdata()) == [zero, zero] for line in panel.lines)
    assert scale.get_ylim() == slip.get_ylim()
    wanted = [read.score(Key(FAMILY, s, "rl2")).mean for s in ("id", "shift/slip/1")]
    assert lines(slip)["rl2"].get_ydata()[:2].tolist() == wanted


def test_a_panel_is_cut_two_random_scores_below_random(folder, tmp_path):
    shutil.copytree(folder / "rows", tmp_path / "rows")
    put(tmp_path, "lost", "shift/slip/4", -90.0, 1, 0.4, exact="")
    scale, slip = shift.draw(shown(Results(tmp_path))).axes
    assert scale.get_ylim()[0] == slip.get_ylim()[0] == -2
    assert [text.get_text() for text in scale.texts] == ["axis cut"]


def test_learned_methods_are_heavy_and_coloured_and_references_thin_grey_and_above(read):
    drawn = lines(adaptation.draw(shown(read)).axes[0])
    learned = [line for name, line in drawn.items() if name.split()[0] in LEARNED]
    references = [line for line in drawn.values() if line not in learned]
    assert {line.get_linewidth() for line in learned} == {2.0}
    assert {line.get_linewidth() for line in references} == {0.9}
    assert {line.get_zorder() for line in learned} == {3}
    assert {line.get_zorder() for line in references} == {4}
    for line in references:
        red, green, blue = to_rgb(line.get_color())
        assert red == green == blue
    for line in learned:
        assert len(set(to_rgb(line.get_color()))) > 1


def test_beside_learned_methods_the_bounds_and_the_two_best_references_are_drawn(read):
    assert [*lines(adaptation.draw(shown(read)).axes[0])] == [
        "maml †",
        "rl2",
        "bayes",
        "oracle",
        "psrl",
        "random",
        "search",
    ]
    for method in LEARNED:
        for key in [key for key in read.about if key.method == method]:
            del read.about[key]
    assert [*lines(adaptation.draw(shown(read)).axes[0])] == sorted(MEANS)


def test_the_legend_is_grouped_by_how_methods_adapt(read):
    for key, about in read.about.items():
        about["adapts"] = {"rl2": "context", "maml": "gradient"}.get(key.method, "")
    (legend,) = adaptation.draw(shown(read)).legends
    texts = [(text.get_text(), text.get_fontweight()) for text in legend.get_texts()]
    assert [text for text, weight in texts if text and weight == "bold"] == [
        "adapt in context",
        "adapt by gradient",
        "best references",
    ]
    order = [text for text, _ in texts if text]
    assert order[:4] == ["adapt in context", "rl2", "adapt by gradient", "maml †"]
    panels = adaptation.draw(shown(read)).axes
    assert all(panel.get_legend() is None for panel in panels)


def test_titles_state_seeds_and_trials_and_what_the_mark_means(read):
    for name, figure in figures.figures(read, FAMILY, looks({}, read.methods(FAMILY))):
        n = 50 if name == "learning" else 6 * 60
        assert f"3 training seeds, n = {n} trials each" in figure.get_suptitle()
        assert "† undertrained: " in figure.get_suptitle()
    assert seeds_and_trials({1}, {4200}) == "1 training seed, n = 4,200 trials"
    assert (
        seeds_and_trials({1, 2, 10}, {20, 10}) == "1 to 10 training seeds, n = 10 to 20 trials each"
    )
    assert seeds_and_trials((), {5}) == "n = 5 trials"


def test_learning_curves_have_thin_seeds_and_a_heavy_mean(read):
    """Budgets that differ twentyfold are on a logarithmic axis; equal runs are drawn once."""
    for key in [key for key in read.about if key.method == "rl2"]:
        read.about[key._replace(method="full_reward_rl2")] = read.about[key]
    read.learning[FAMILY]["full_reward_rl2"] = read.learning[FAMILY]["rl2"]
    scenes = [scene(read, FAMILY, "O", looks({}, ["maml", "rl2", "full_reward_rl2"]))]
    panel = learning.draw(scenes).axes[0]
    drawn = lines(panel)
    assert [*drawn] == ["maml †", "rl2", "bayes", "oracle", "psrl", "random", "search"]
    assert panel.get_xscale() == "log"
    mean = drawn["rl2"]
    assert mean.get_ydata() == pytest.approx(3.5)
    seeds = [
        line for line in panel.lines if line.get_color() == mean.get_color() and line is not mean
    ]
    assert sorted(np.min(line.get_ydata()) for line in seeds) == pytest.approx([3.4, 3.5, 3.6])
    assert max(line.get_linewidth() for line in seeds) < mean.get_linewidth() / 2
    assert drawn["oracle"].get_ydata()[0] == pytest.approx(5.0)


def test_undertrained_methods_are_known_if_random_play_is(read):
    assert read.undertrained(FAMILY) == {"maml"}
    del read.about[Key(FAMILY, "id", "random")]
    assert read.undertrained(FAMILY) == set()


def test_interquartile_means_are_bars_in_their_order(read):
    """On id and on the last level of each axis; lines are the references."""
    figure = iqm.draw(shown(read))
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["id", "reward_scale/4", "slip/4"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["maml †", "rl2"]
    for panel, split in zip(
        figure.axes, ("id", "shift/reward_scale/4", "shift/slip/4"), strict=True
    ):
        for place, method in enumerate(("maml", "rl2")):
            wanted = read.iqm(Key(FAMILY, split, method))
            at_place = [line for line in panel.lines if set(line.get_ydata()) == {place}]
            bar, tick = at_place
            assert list(bar.get_xdata()) == [wanted.low, wanted.high]
            assert list(tick.get_xdata()) == [wanted.mean]
        oracle = read.iqm(Key(FAMILY, split, "oracle"), least_seeds=1)
        assert set(lines(panel)["oracle"].get_xdata()) == {oracle.mean}


def test_improvement_is_a_matrix_on_id_and_on_the_hardest_shift(read):
    """The best method on id comes first; it loses on the strongest shift, where it falls twice as fast."""
    figure = improvement.draw(shown(read))
    assert [panel.get_title() for panel in figure.axes] == ["id", "shift/reward_scale/4"]
    cells = [
        {text.get_position(): text.get_text() for text in panel.texts} for panel in figure.axes
    ]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["rl2  1", "maml †  2"]
    assert cells[0] == {(1, 0): "1.00", (0, 1): ".00"}


def test_the_hardest_shift_is_found_without_an_oracle(read):
    """Bayes-optimal play is then the ceiling of scores."""
    for key in [key for key in read.about if key.method == "oracle"]:
        oracle = key._replace(method="bayes")
        read.about[oracle], read._curves[oracle] = read.about.pop(key), read._curves.pop(key)
    titles = [panel.get_title() for panel in improvement.draw(shown(read)).axes]
    assert titles == ["id", "shift/reward_scale/4"]


def test_a_chance_without_an_interval_is_not_bold():
    """One task and one seed each: nothing was repeated."""
    rows = [played(name, FAMILY, "id", score, **CONTEXT) for name, score in (("a", 1), ("b", 0))]
    (panel,) = improvement.draw(shown(Results(rows))).axes
    assert {text.get_weight() for text in panel.texts} == {"normal"}


def test_a_single_point_is_seen():
    """A trial of one episode: what has no marker gets one, and the interval is a bar."""
    rows = [*bounds(FAMILY, "id"), played("rl2", FAMILY, "id", 0.5, 0.1, **CONTEXT)]
    panel = adaptation.draw(shown(Results(rows))).axes[0]
    drawn = lines(panel)
    assert all(line.get_marker() for line in drawn.values())
    segments = [
        bar.get_segments()[0] for bar in panel.collections if isinstance(bar, LineCollection)
    ]
    ((low, high),) = {(y, top) for (_, y), (_, top) in segments if y != top}
    assert (low, high) == (pytest.approx(0.4), pytest.approx(0.6))


def test_returns_of_an_episode_do_not_stand_beside_returns_of_a_trial():
    """On track C alone, references earn returns of an episode, and learning curves are of trials."""
    rows = [*bounds(FAMILY, "id", "C"), played("rl2", FAMILY, "id", 0.5, track="C", **CONTEXT)]
    read = Results(rows)
    read.learning = {FAMILY: {"rl2": {0: Curve(np.arange(1, 5), np.arange(4.0), 50)}}}
    figure = learning.draw([scene(read, FAMILY, "C", looks({}, ["rl2"]))])
    assert [*lines(figure.axes[0])] == ["rl2"]
    assert figure.get_suptitle() == f"{FAMILY} · learning · 1 training seed, n = 50 trials"


def test_legends_are_short_and_groups_share_a_column_if_they_fit():
    groups = [list("abcd"), list("ef"), list("g")]
    assert drawing._packed(groups, 4) == [list("ab"), list("cd"), list("ef"), ["g"]]
    assert drawing._packed(groups, 3) == [list("abc"), ["d"], list("efg")]
    assert drawing._packed(groups, 2) == [list("abcd"), list("efg")]
    assert drawing._packed(groups, 1) == [list("abcdefg")]


def alike(found: dict) -> int:
    """The number of looks that appear twice."""
    return len(found) - len({str(look) for look in found.values()})


def test_methods_of_users_have_looks_that_no_other_has():
    mine = [f"my_method_{i}" for i in range(100)]
    found = looks({"rl2": "", "maml": ""}, mine)
    assert alike(found) == 0
    assert set(mine) < found.keys()


def test_a_look_is_the_same_in_every_figure():
    """A registered method's, whatever is drawn; a user's, whatever the order of what is drawn."""
    known = {"maml": "", "rl2": ""}
    few, many = ("rl2", "mine"), ("yours", "theirs", "mine", "rl2", "maml", "ucb1:c=0.1")
    first, second = (looks(known, drawn) for drawn in (few, many))
    assert first["rl2"] == second["rl2"]
    assert first["mine"] == second["mine"]
    assert looks(known, many[::-1]) == second


def test_methods_that_are_made_from_another_one_have_its_colour_and_marker():
    found = looks(
        {
            "rl2": "",
            "maml": "",
            "zoo:rl2": "rl2",
            "full_reward_rl2": "rl2",
            "full_reward_maml": "maml",
        }
    )
    assert alike(found) == 0
    for name, base in (
        ("zoo:rl2", "rl2"),
        ("full_reward_rl2", "rl2"),
        ("full_reward_maml", "maml"),
    ):
        assert [found[name][key] for key in ("color", "marker")] == [
            found[base][key] for key in ("color", "marker")
        ]
    assert found["full_reward_rl2"]["linestyle"] == found["full_reward_maml"]["linestyle"] != "-"
