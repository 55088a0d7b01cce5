"""What tuning on shifted tasks costs at home: the table, and that nothing else than weights is brought home."""

import sys

import pytest
import torch

from bridge.tasks import family as make_family
from experiments import methods
from experiments.studies import forgetting
from tests.experiments.conftest import TRAINED_ON

SPEC, FLIPPED = TRAINED_ON, "shift/reward_sign/4"


def agent(trained, steps: int, lr: float = 0.5):
    spec = f"lora_reward:run={trained['icl_rl']},inner_steps={steps},inner_every=99,inner_lr={lr}"
    return methods.agent(spec, make_family(SPEC), FLIPPED)


def test_without_steps_nothing_is_gained_or_forgotten(trained):
    found = forgetting.forget(agent(trained, 0), make_family(SPEC), FLIPPED, shots=4, trials=16)
    assert found.there.shape == found.here.shape == (2, 16)
    assert (found.there[0] == found.there[1]).all()
    assert (found.here[0] == found.here[1]).all()


def test_home_is_the_same_wherever_the_weights_come_from_and_steps_change_it(trained):
    family = make_family(SPEC)
    one, two = (
        forgetting.forget(agent(trained, 8), family, FLIPPED, shots=shots, trials=200)
        for shots in (2, 6)
    )
    assert (one.here[0] == two.here[0]).all()  # the base, which brings nothing home
    assert (two.here[1] != two.here[0]).any()
    assert (two.there[1] != two.there[0]).any()
    assert one.here.mean() > 0 > one.there.mean()  # rewards are negated there alone


def test_the_table_has_a_row_for_each_way_and_maml_has_none(trained, monkeypatch, capsys):
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
    monkeypatch.setattr(
        sys, "argv", [*given, "--runs", str(trained["icl_rl"]), str(trained["maml"])]
    )
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
        ((trained["maml"],), "None of these runs"),
        ((trained["icl_rl"], "--shots", "0"), "1 or more"),
    ):
        monkeypatch.setattr(sys, "argv", [*given, "--runs", *map(str, more)])
        with pytest.raises(SystemExit, match=said):
            forgetting.main()
    torch.set_num_threads(threads)
