"""Trials are played in chunks that fit a limit: what is measured, how it is divided, and what a process then takes."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.errors import UserError
from bridge.evaluation import footprint
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import Fit, fit, parse_memory, row_bytes
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import METRICS
from bridge.protocol import Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.bandit import Bandit
from tests.bridge.books import Clerk, Echo, wage
from tests.bridge.toys import Corridor, Tally

KB = 1_000


def test_what_lives_at_the_same_time_is_counted_once() -> None:
    """By hand: a and b live together, then b and c; a view and a change in place are nothing new."""

    def prepare(rows: int) -> Any:
        def run() -> Tensor:
            a = torch.zeros(rows, 250)  # float32
            b = a + 1
            del a
            c = b.double()
            b.add_(1)
            return c.view(-1)[:3]

        return run

    assert row_bytes(prepare) == 3 * KB  # b (1 KB) beside c (2 KB)


def test_what_a_row_needs_outside_of_tensors_is_counted(monkeypatch) -> None:
    """Environments of another package, a megabyte each: 64 MB have room for fewer than 64."""
    family = Corridor()
    trial = family.trial("id")
    agent = Random(family, "id")
    whole = fit(agent, family, "id", trial, 1000, limit=64_000 * KB).rows
    monkeypatch.setattr(Corridor, "bytes_a_row", 1_000 * KB)
    assert 16 <= fit(agent, family, "id", trial, 1000, limit=64_000 * KB).rows < 64 < whole


def test_what_gradients_keep_is_counted() -> None:
    weight = torch.ones(250, requires_grad=True)

    def prepare(rows: int) -> Any:
        def run() -> None:
            with torch.enable_grad():
                (torch.ones(rows, 250) * weight).exp().sin().sum().backward()

        return run

    assert (
        3 * KB <= row_bytes(prepare) <= 6 * KB
    )  # its inputs, and what exp and sin keep for their gradients


@pytest.mark.parametrize(
    ("room", "row", "adapting", "expected"),
    [
        (1_000 * KB, KB, 0, Fit(100, 100)),  # all fit
        (10 * KB, KB, 0, Fit(10, 10)),
        (300 * KB, KB, 2 * KB, Fit(100, 100)),
        (
            100 * KB,
            KB,
            10 * KB,
            Fit(50, 5),
        ),  # half for the rows, and what they leave for those that adapt
        (100 * KB, 10, 60 * KB, Fit(100, 1)),
        (KB, 10 * KB, 10 * KB, Fit(1, 1)),  # one at least, whatever it takes
    ],
)
def test_room_is_divided_between_rows_and_those_that_adapt(
    room: int, row: int, adapting: int, expected: Fit
) -> None:
    assert footprint._divided(room, 100, row, adapting) == expected


def test_no_chunk_has_more_rows_than_are_fast() -> None:
    assert footprint._divided(1 << 40, 10**6, 1, 0) == Fit(1 << 15, 1 << 15)


class Wasteful(Random):
    """Needs 4 KB a row in each step and, as it says, 40 KB in ``adapt``."""

    adapted: list[int]

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Any:
        torch.zeros(len(rng), 1_000).sum()
        return super().act(memory, obs, rng, explore=explore)

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        self.adapted.append(len(rng))
        return memory

    def adapt_bytes(self, trial: Trial) -> int:
        return 40 * KB


def test_steps_and_adapting_are_both_counted() -> None:
    family = Bandit(k=3, n=5)
    plain, wasteful = (
        fit(make(family), family, "id", family.trial("id"), 10**5, limit=20_000 * KB)
        for make in (Random, Wasteful)
    )
    assert plain.rows == plain.adapting > 4_000
    assert 1_000 - 250 < wasteful.rows < 1_000  # of 10 MB half, at 4 KB and a little more each
    assert wasteful.adapting == pytest.approx(125, abs=30)


@pytest.mark.parametrize("track", ["O", "C", "F"])
def test_a_memory_is_adapted_in_parts_that_fit(track: str) -> None:
    family = make_family("gridnavi:episodes=2")
    agent = Wasteful(family)
    agent.adapted = []
    evaluate(
        agent,
        family,
        Plan(trials=500, track=track),
        behaviour=Random(family),
        memory_limit=4_000 * KB,
    )
    assert 1 <= max(agent.adapted) <= 50
    assert sum(agent.adapted) == 500 * {"O": 1, "C": 1 + 2, "F": 1 + 2}[track]


@pytest.mark.parametrize("track", ["O", "C", "F"])
def test_the_limit_changes_no_number(track: str) -> None:
    family = Corridor()
    plan = Plan(trials=60, track=track)
    whole, parts = (
        evaluate(Tally(family), family, plan, behaviour=Random(family), memory_limit=limit)
        for limit in (10**9, 20 * KB)
    )
    for metric in METRICS:
        np.testing.assert_array_equal(whole.total[metric], parts.total[metric])


def test_a_context_that_is_shown_counts_for_the_whole_trial() -> None:
    """Sixteen steps' worth of context in place of one: each holds an observation, an action, a reward and flags."""
    family, agent = make_family("gridnavi"), Random(make_family("gridnavi"))
    sizes = [
        fit(agent, family, "id", Trial(k + 1, 15), 10**6, limit=10**7, shown_by=agent).rows
        for k in (1, 16)
    ]
    assert sizes[0] > 3 * sizes[1]


def test_one_trial_is_played_without_measuring() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1))
    assert len(agent.calls("start")) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1GB", 10**9), ("500 MB", 5 * 10**8), ("1.5gb", 15 * 10**8), ("64MiB", 1 << 26)],
)
def test_an_amount_of_memory_is_read(text: str, expected: int) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "lots",
        "-1GB",
        "nanGB",
        "63MB",
        "1kB",
        "1e3GB",
        "9999999GB",
        "2TB3",
        "0GB",
        "9" * 400 + "GB",
    ],
)
def test_a_senseless_amount_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"from 64MB to the \d+GB of this machine, such as 500MB or 2GB; found "
    ):
        parse_memory(text)


def test_a_broken_agent_is_left_to_the_evaluation() -> None:
    """A draw by NaN while memory is measured stops nothing: the evaluation meets it, and names its own row."""

    class Diverged(Random):
        def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Any:
            rng.categorical(torch.full((len(obs), 2), torch.nan))

    family = make_family("bandit:k=2,n=3")
    assert fit(Diverged(family), family, "id", family.trial("id"), 40) == Fit(40, 40)


# --- what a process takes ---------------------------------------------------------------------------------------------

_MEASURE = """
import resource, sys, torch
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments import agents
torch.set_num_threads(1)
spec, name, track, trials, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
family = make_family(name)
behaviour = agents.load("oracle", family, "id") if track == "C" else None
def play(trials):
    agent = agents.load(spec, family, "id")
    evaluate(agent, family, Plan(trials=trials, track=track, shots=SHOTS), behaviour=behaviour, memory_limit=limit)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
SHOTS = 0 if track == "O" else 2
before = play(4)
print(play(trials) - before)
"""
CASES = {
    "maml": ("maml", "point_nav:episodes=4", "{run}", "O", 1_000),
    "rl2": ("rl2", "bandit:k=5,n=10", "full_reward:run={run},inner_steps=1", "O", 1_000),
    "icl_rl": (
        "icl_rl:hidden=32",
        "gridnavi:episodes=4",
        "lora_reward:run={run},inner_steps=1",
        "F",
        1_000,
    ),
    "mt": ("mt:hidden=32", "gridnavi:episodes=4", "full_demos:run={run},inner_steps=1", "C", 150),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_evaluations_stay_within_the_limit(name: str, tmp_path, capsys) -> None:
    """The growth of the peak of resident memory, of a process of its own, at a limit of 300 MB."""
    from tests.experiments.commands import run

    method, family, spec, track, trials = CASES[name]
    out = str(tmp_path / "run")
    run("train", method, "--family", family, "--budget", "20000", "--out", out, capsys=capsys)
    flags = [spec.format(run=out), family, track, str(trials), str(300 * 10**6)]
    found = subprocess.run(
        [sys.executable, "-c", _MEASURE, *flags], capture_output=True, text=True, check=False
    )
    assert not found.returncode, found.stderr
    assert int(found.stdout.split()[-1]) < 300 * 10**6
