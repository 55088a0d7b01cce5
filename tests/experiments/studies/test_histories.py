"""Histories that are shown to all methods, and what is read of them."""

import numpy as np
import pytest

from bridge.errors import UserError
from experiments.cells import missing
from experiments.studies.histories import Histories, Size
from experiments.studies.players import Player


def histories(out, **given):
    about = {"family": "bandit", "axes": ("prior",), "behaviour": "random", "study": "some"}
    return Histories(**about | {"size": Size((0, 1), 20), "levels": (4,), "out": out} | given)


def test_methods_are_those_of_the_zoo_but_language_models(tmp_path):
    names = [player.name for player in histories(tmp_path).methods]
    assert {"rl2", "maml", "icl_rl", "mt"} <= set(names)
    assert not any("prompted" in name for name in names)


def test_splits(tmp_path):
    assert histories(tmp_path).splits == ("id", "shift/prior/4")
    both = histories(tmp_path, axes=(), levels=(1, 2)).splits
    assert both == ("id", *(f"shift/{a}/{n}" for a in ("prior", "reward_sign") for n in (1, 2)))
    assert (
        "shift/ring/1" in histories(tmp_path, family="darkroom", axes=("ring",), levels=(1,)).splits
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "minigrid"}, "family of the zoo"),
        ({"family": "point_nav"}, "discrete actions"),
        ({"axes": ("slip",)}, "axis of bandit:k=5,n=10: 'slip'"),
        ({"behaviour": "nobody"}, "nobody"),
        ({"behaviour": "rl2"}, "rl2 is trained first"),
        ({"behaviour": "zoo:rl2/gridnavi/0"}, "does not play bandit"),
        ({"behaviour": "bayes", "axes": ("changes",)}, "changes"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        histories(tmp_path, **given).check()


def test_what_cells_keep_is_read_by_split_method_and_seed(tmp_path):
    shown = histories(tmp_path)
    (cells, none) = shown.cells([Player("rl2")], ("random",))
    assert none == []
    assert {cell.method for cell in cells} == {"random", "rl2"}
    assert all(plan.track == "C" for cell in cells for plan in cell.plans)
    shown.play([cells])
    found = shown.read(cells, "id")
    assert set(found) == {"random", "rl2"}
    rl2 = found["rl2"]
    assert rl2.shots == (0, 1, 2, 4, 8, 10)
    assert rl2.policy.shape == (2, 6, 20, 1, 5)
    assert rl2.state.shape == (2, 6, 20, 32)
    assert found["random"].state is None
    assert not np.allclose(rl2.policy[0], rl2.policy[1])
    np.testing.assert_allclose(rl2.policy.sum(-1), 1, atol=1e-6)
    one = found["random"].optimum
    np.testing.assert_array_equal(one, rl2.optimum)
    assert (rl2.regret >= -1e-6).all()


def test_a_cell_without_its_policies_is_played_again(tmp_path):
    some = histories(tmp_path, axes=("prior",))
    cells, _ = some.cells([], ("random",))
    assert cells == []
    cells, _ = some.cells([Player("rl2")], ("random",), splits=("id",))
    some.play([cells])
    assert missing(cells, some.rows) == []
    lost = cells[0].policies_place(some.plan("id"))
    lost.unlink()
    assert [cell.method for cell in missing(cells, some.rows)] == ["random"]
    some.play([cells])
    lost.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be read.*play it again"):
        some.read(cells, "id")


def test_references_play_the_splits_that_they_model(tmp_path):
    some = histories(tmp_path, axes=("changes",))
    cells, _ = some.cells([Player("rl2")], ("random", "bayes"))
    played = {cell.method: [plan.split for plan in cell.plans] for cell in cells}
    assert played["random"] == ["id", "shift/changes/4"]
    assert played["bayes"] == ["id"]
