"""The parts of a gap: that they add up, and known cases."""

import numpy as np
import pytest

from bridge.report.gaps import PARTS, Probes, gap

RNG = np.random.default_rng(0)
TASKS = 24
REFERENCES = {
    "random": np.full((1, TASKS), 0.5),
    "bayes": np.full((1, TASKS), 0.1),
    "bayes_train": np.full((1, TASKS), 0.15),
}


def regrets(mean, seeds=3):
    return mean + 0.02 * RNG.normal(size=(seeds, TASKS))


@pytest.mark.parametrize("seeds", [1, 3, 10])
@pytest.mark.parametrize("known", [(), ("with_steps",), ("probes",), ("with_steps", "probes")])
def test_parts_add_up_to_the_gap(seeds, known):
    every = {
        "with_steps": regrets(0.18, seeds),
        "probes": Probes(regrets(0.3, seeds), np.full((1, TASKS), 0.2)),
    }
    more = {name: every[name] for name in known}
    found = gap(**REFERENCES, on_context=regrets(0.2, seeds), free=regrets(0.25, seeds), **more)
    assert sum(part.mean for part in found.parts.values()) == pytest.approx(found.total.mean)
    assert found.total.half <= sum(part.half for part in found.parts.values()) + 1e-9
    missing = {"representation": "probes", "optimisation": "with_steps"}
    assert set(PARTS) - set(found.parts) == {p for p, name in missing.items() if name not in known}
    assert list(found.parts) == [part for part in PARTS if part in found.parts]


def test_each_part_is_the_step_of_the_ladder_that_it_names():
    found = gap(
        **REFERENCES,
        on_context=np.full((2, TASKS), 0.3),
        free=np.full((2, TASKS), 0.25),
        with_steps=np.full((2, TASKS), 0.28),
        probes=Probes(np.full((2, TASKS), 0.25), np.full((1, TASKS), 0.2)),
    )
    assert found.total.mean == pytest.approx(0.5)
    expected = {
        "information": 0.2,
        "prior": 0.1,
        "representation": 0.1,
        "inference": 0.16,
        "optimisation": 0.04,
        "exploration": -0.1,
    }
    assert {name: part.mean for name, part in found.parts.items()} == pytest.approx(expected)


def test_the_exact_learner_has_no_part_of_its_own():
    """Whatever a probe makes of its memory."""
    learner = np.repeat(REFERENCES["bayes_train"], 3, 0)
    exact = regrets(0.22, 1)
    probes = Probes(np.repeat(exact, 3, 0), exact)
    found = gap(**REFERENCES, on_context=learner, free=learner, probes=probes)
    assert found.parts["representation"].mean == pytest.approx(0)
    assert found.parts["inference"].mean == pytest.approx(0)
    assert found.parts["exploration"].mean == pytest.approx(0)
    assert found.total.mean == pytest.approx(0.3)


def test_steps_are_paired_with_their_own_seed():
    """Seeds differ by far more than steps change them; the change is known well all the same."""
    method = np.linspace(0.1, 0.4, 5)[:, None] + np.zeros((1, TASKS))
    less = method - 0.01 - 0.05 * regrets(0, 5)
    found = gap(**REFERENCES, on_context=method, free=method, with_steps=less)
    assert found.parts["optimisation"].mean == pytest.approx(0.02, abs=0.002)
    assert found.parts["optimisation"].half < 0.003
    assert found.total.half > 0.2


def test_a_part_in_which_all_seeds_are_alike_has_an_interval_over_tasks():
    """MAML's memories are linear images of one another: whatever is read off them is the same from seed to seed."""
    probes = Probes(np.repeat(regrets(0.3, 1), 5, 0), np.full((1, TASKS), 0.2))
    found = gap(**REFERENCES, on_context=regrets(0.2, 5), free=regrets(0.25, 5), probes=probes)
    part = found.parts["representation"]
    assert part.n == TASKS
    assert part.low < part.mean < part.high
    assert found.parts["inference"].n == 5
