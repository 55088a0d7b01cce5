"""A plan is known without torch, and its hash is that of how trials are played."""

import subprocess
import sys

from bridge.evaluation.plan import Plan, shot_points


def test_a_plan_is_imported_without_torch_or_numpy() -> None:
    code = "import sys, bridge.evaluation.plan; sys.exit(not {'torch', 'numpy'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_frozen_episodes_are_scored_at_powers_of_two_and_after_the_last_shot() -> None:
    assert [shot_points(shots) for shots in (0, 1, 2, 6, 8)] == [
        (0, 0),
        (0, 1),
        (0, 1, 2),
        (0, 1, 2, 4, 6),
        (0, 1, 2, 4, 8),
    ]


def test_the_hash_is_of_how_trials_are_played_and_of_no_split() -> None:
    assert Plan().hash == Plan(split="train", left_out=(1,)).hash == "ab0fb2b8"
    others = (Plan(trials=2), Plan(track="F"), Plan(eval_seed=1), Plan(trials_per_task=5))
    assert len({Plan().hash, Plan(shots=1).hash, *(plan.hash for plan in others)}) == 6
