"""Forgetting: the table, and that an agent brings home nothing but its weights."""

import sys

import pytest
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.test_time.carried_over import CarriedOver
from experiments import agents
from experiments.studies import forgetting

SPEC, FLIPPED = "bandit:k=3,n=8", "shift/reward_sign/4"


@pytest.fixture
def runs(trained):
    return trained


def agent(runs, steps: int, lr: float = 0.5):
    spec = f"lora_reward:run={runs['icl_rl']},inner_steps={steps},inner_every=99,inner_lr={lr}"
    return agents.load(spec, make_family(SPEC), FLIPPED)


def at_home(player, trials: int = 200) -> list[float]:
    """Rewards of trials on training tasks, step by step."""
    plan = Plan(split=forgetting.HOME, trials=trials)
    return evaluate(player, make_family(SPEC), plan).detail["reward"].tolist()


def test_without_steps_nothing_is_forgotten(runs):
    plan = Plan(split=FLIPPED, track="F", shots=4)
    base = agents.load(str(runs["icl_rl"]), make_family(SPEC), "id")
    assert at_home(CarriedOver(agent(runs, 0), make_family(SPEC), plan)) == at_home(base)


def test_steps_on_other_tasks_change_the_play_at_home_by_weights_alone(runs):
    family = make_family(SPEC)
    two, six = (Plan(split=FLIPPED, track="F", shots=shots) for shots in (2, 6))
    one, other = (at_home(CarriedOver(agent(runs, 8), family, plan)) for plan in (two, six))
    assert one != other != at_home(agent(runs, 0))
    slow = (at_home(CarriedOver(agent(runs, 8, 1e-9), family, plan)) for plan in (two, six))
    assert all(rewards == at_home(agent(runs, 0)) for rewards in slow)


def test_the_table_has_a_row_for_each_way_and_maml_has_none(runs, monkeypatch, capsys):
    given = [
        "forgetting",
        "--family",
        SPEC,
        "--splits",
        FLIPPED,
        "--shots",
        "4",
        "--trials",
        "8",
        "--steps",
        "2",
    ]
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", [*given, "--runs", str(runs["icl_rl"]), str(runs["maml"])])
    forgetting.main()
    out = capsys.readouterr().out
    assert f"**{FLIPPED}**" in out
    rows = [
        line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| icl_rl")
    ]
    assert [row[:3] for row in rows] == [
        ["icl_rl", "lora_reward", "2"],
        ["icl_rl", "full_reward", "2"],
    ]
    assert all(len(row) == 7 and all("±" in cell for cell in row[3:]) for row in rows)
    assert "| maml" not in out
    for more, said in (
        ((runs["maml"],), "None of these runs"),
        ((runs["icl_rl"], "--shots", "0"), "1 or more"),
    ):
        monkeypatch.setattr(sys, "argv", [*given, "--runs", *map(str, more)])
        with pytest.raises(SystemExit, match=said):
            forgetting.main()
    torch.set_num_threads(threads)
