"""Training that can be trusted and resumed: kills at random moments, damaged files, folders of other runs."""

import dataclasses
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bridge import files
from bridge.errors import DivergenceError, UserError
from bridge.references.random import Random
from bridge.tasks import family as make_family
from bridge.training import checkpoint, loop, run_folder
from bridge.training.budget import Budget
from tests.permissions import forbidden, shared_path  # noqa: F401 - a fixture

FAMILY = make_family("bandit:k=2,n=3")
SCHEDULE = loop.Schedule(
    budget=Budget(1000.0), checkpoint_seconds=0.0, evaluations=4, evaluation_trials=10
)


class Counter:
    """A learner of ten steps an update, whose weight depends on all that went before."""

    def __init__(self, *, nan_at: int = -1, slow: float = 0.0) -> None:
        self.env_steps = self.grad_steps = 0
        self.weight, self.nan_at, self.slow = torch.zeros(1, dtype=torch.float64), nan_at, slow

    def update(self, spent=0.0):
        time.sleep(self.slow)
        self.env_steps += 10
        self.weight = torch.sin(self.weight + self.env_steps)
        return {"weight": float("nan") if self.env_steps == self.nan_at else self.weight.item()}

    def agent(self):
        return Random(FAMILY)

    def state_dict(self):
        return {"weight": self.weight, "env_steps": self.env_steps}

    def load_state_dict(self, state):
        self.weight, self.env_steps = state["weight"], state["env_steps"]


def lines(folder: Path) -> list[dict]:
    read = [json.loads(text) for text in (folder / "train.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in loop.CLOCKS} for line in read]


def run(folder: Path, learner=None, **options) -> bool:
    return loop.train(
        learner or Counter(), FAMILY, SCHEDULE, {"method": "counter", "seed": 0}, folder, **options
    )


def test_a_run_folder_holds_everything(tmp_path):
    assert run(tmp_path)
    shown = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert shown == {"config.json", "train.jsonl", "checkpoints", "model.safetensors"}
    found = lines(tmp_path)
    assert [line["env_steps"] for line in found] == list(range(10, 1010, 10))
    assert sum("id_val_trial_return" in line for line in found) == 4
    assert checkpoint.load(tmp_path / "model.safetensors")["env_steps"] == 1000


def log_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_loop import Counter, run
sys.exit(0 if run(Path(sys.argv[1]), Counter(slow=0.008), resume=Path(sys.argv[1], "config.json").exists()) else 3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_random_moments_a_run_ends_as_if_it_never_was(tmp_path, stop):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole)
    moments = random.Random(int(stop))
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    log, model, kills = broken / "train.jsonl", broken / "model.safetensors", 0
    while not model.exists():
        enough = log_lines(log) + moments.randint(5, 40)
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(broken)], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and log_lines(log) < enough:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))  # two updates: anywhere between two lines
        process.send_signal(stop)  # nothing happens where it has just ended
        process.wait()
        kills += 1
        assert kills < 30
    assert kills > 1
    assert lines(broken) == lines(whole)
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_stop_asked_for_is_saved(tmp_path):
    class Stopper(Counter):
        def update(self, spent=0.0):
            if self.env_steps == 50:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().update(spent)

    assert not run(tmp_path, Stopper())
    state = checkpoint.load_last(tmp_path / "checkpoints", print)
    assert state is not None
    assert state["learner"]["env_steps"] == 60
    assert run(tmp_path, resume=True)
    assert len(lines(tmp_path)) == 100


def test_a_stop_asked_for_in_the_last_update_is_heard(tmp_path):
    class Stopper(Counter):
        def update(self, spent=0.0):
            if self.env_steps == 990:
                os.kill(os.getpid(), signal.SIGINT)
            return super().update(spent)

    assert not run(tmp_path, Stopper())
    assert (tmp_path / "model.safetensors").exists()
    assert run(tmp_path, resume=True)


def test_a_damaged_checkpoint_costs_one_and_is_told(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "run")
    last = max((tmp_path / "run" / "checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:20])
    heard: list[str] = []
    assert run(tmp_path / "run", resume=True, notify=heard.append)
    assert "damaged" in heard[0]
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


def test_where_all_checkpoints_are_damaged_nothing_begins_anew(tmp_path):
    run(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    heard: list[str] = []
    with pytest.raises(
        UserError, match=r"all 2 checkpoints in .* are damaged\. Put a copy back\. .*move them away"
    ):
        run(tmp_path, resume=True, notify=heard.append)
    assert [text.split("; ")[1] for text in heard] == [
        "going on from the checkpoint before it.",
        "there is none before it.",
    ]
    assert {path: path.read_bytes() for path in before} == before


def test_what_a_colleague_may_not_read_is_not_begun_anew(shared_path):  # noqa: F811
    """A finished run whose checkpoints are another user's alone: told so, and left as it is."""
    run(shared_path)
    for path in [shared_path, *shared_path.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    (last := checkpoint.paths(shared_path / "checkpoints")[-1]).chmod(0)
    before = {
        path: path.read_bytes()
        for path in shared_path.rglob("*")
        if path.is_file() and path != last
    }
    with (
        forbidden(last),
        pytest.raises(UserError, match=r"cannot be read: Permission denied\. Ask its owner"),
    ):
        run(shared_path, resume=True)
    assert {path: path.read_bytes() for path in before} == before


def test_weights_without_a_config_are_not_written_over(tmp_path):
    run(tmp_path)
    (tmp_path / "config.json").unlink()
    for option in ({}, {"resume": True}):
        with pytest.raises(
            UserError,
            match=r"holds model\.safetensors without a config\.json .* Put its config\.json back",
        ):
            run(tmp_path, **option)


def test_a_log_without_a_config_is_not_written_over(tmp_path):
    run(tmp_path / "run")
    (tmp_path / "log").mkdir()
    log = shutil.copy(tmp_path / "run" / "train.jsonl", tmp_path / "log")
    whole = Path(log).read_bytes()
    for option in ({}, {"resume": True}):
        with pytest.raises(
            UserError,
            match=r"holds train\.jsonl without a config\.json .* Put its config\.json back",
        ):
            run(tmp_path / "log", **option)
        assert Path(log).read_bytes() == whole


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"earlier_budgets": 5}, "earlier_budgets should be a list, found 5"),
        ({"earlier_budgets": {"amount": 5}}, "earlier_budgets should be a list"),
        (
            {"schedule": {"budget": {"amount": 1.0, "unit": "steps", "more": 5}}},
            "its schedule.budget.more is 5",
        ),
        (
            {"schedule": {"budget": {"amount": 1.0, "unit": ["steps"]}}},
            "its schedule.budget.amount is 1.0",
        ),
        ({"schedule": {"budget": 5}}, "its schedule.budget is 5"),
        ({"schedule": 5}, "its schedule is 5"),
    ],
)
def test_a_history_that_was_edited_by_hand_is_refused(tmp_path, edit, said):
    run(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    schedule = edit.get("schedule")
    if isinstance(schedule, dict):
        edit = {"schedule": about["schedule"] | schedule}
    (tmp_path / "config.json").write_text(json.dumps(about | edit))
    with pytest.raises(UserError, match=said):
        further(tmp_path)


def test_a_key_of_the_budget_that_says_nothing_is_passed_over(tmp_path):
    run(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    about["schedule"]["budget"]["more"] = None
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert further(tmp_path)


def test_a_damaged_log_is_told_and_the_rest_of_it_kept(tmp_path):
    """A list, a line without its counter, a byte that is no UTF-8, half a line: nothing after them is lost."""
    run(tmp_path)
    log = tmp_path / "train.jsonl"
    whole = log.read_bytes().split(b"\n")
    broken = list(whole)
    broken[3], broken[10], broken[20], broken[30] = (
        b"[1, 2]",
        b'{"weight": 1.0}',
        b'{"env_steps": 210, "\xff": 1}',
        b'{"env_',
    )
    log.write_bytes(b"\n".join(broken))
    heard: list[str] = []
    assert run(tmp_path, resume=True, notify=heard.append)
    assert heard == [f"{log} is damaged: line 4, 11, 21, 31 is left out. The training goes on."]
    kept = [line for number, line in enumerate(whole) if number not in (3, 10, 20, 30)]
    assert log.read_bytes() == b"\n".join(kept)
    log.write_bytes(log.read_bytes() + b'{"env_steps": 10')  # a killed process
    assert run(tmp_path, resume=True, notify=heard.append)
    assert len(heard) == 1
    assert log.read_bytes() == b"\n".join(kept)


LONGER = dataclasses.replace(SCHEDULE, budget=Budget(2000.0), evaluation_trials=20)


def test_a_run_is_trained_further_and_says_so(tmp_path):
    """6e3, then 12e3: the same folder, another schedule, bitwise the same however often it is stopped."""
    heard: list[str] = []
    for place in ("one", "two"):
        run(tmp_path / place)
    with pytest.raises(
        UserError,
        match=r"Add --resume to train it further, for 2,000 environment steps in place of 1,000",
    ):
        further(tmp_path / "one", resume=False)
    assert further(tmp_path / "one", notify=heard.append)
    assert heard == [
        f"{tmp_path / 'one'} is trained further, for 2,000 environment steps in place of 1,000 environment steps. From "
        "1,000 environment steps on its schedules follow the new budget: a run with that budget from the start would "
        "differ."
    ]
    about = json.loads((tmp_path / "one" / "config.json").read_text())
    assert about["schedule"]["budget"] == {"amount": 2000.0, "unit": "steps"}
    assert about["earlier_budgets"] == [{"amount": 1000.0, "unit": "steps", "env_steps": 1000}]
    assert [line["env_steps"] for line in lines(tmp_path / "one")] == list(range(10, 2010, 10))
    assert checkpoint.load(tmp_path / "one" / "model.safetensors")["env_steps"] == 2000

    class Stopper(Counter):
        def update(self, spent=0.0):
            assert spent == self.env_steps / 2000
            if self.env_steps == 1500:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().update(spent)

    assert not further(tmp_path / "two", Stopper())
    assert checkpoint.load(tmp_path / "two" / "model.safetensors")["env_steps"] == 1000
    assert further(tmp_path / "two", notify=heard.append)
    assert len(heard) == 1
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert lines(tmp_path / "two") == lines(tmp_path / "one")
    with pytest.raises(
        UserError, match=r"its schedule\.budget\.amount is 2000\.0, this one's is 1000\.0"
    ):
        run(tmp_path / "two", resume=True)


def further(folder: Path, learner=None, *, resume: bool = True, **options) -> bool:
    about = {"method": "counter", "seed": 0}
    return loop.train(learner or Counter(), FAMILY, LONGER, about, folder, resume=resume, **options)


def test_how_often_checkpoints_are_written_is_no_part_of_a_run(tmp_path):
    run(tmp_path)
    rarely = dataclasses.replace(SCHEDULE, checkpoint_seconds=1e9)
    assert loop.train(
        Counter(), FAMILY, rarely, {"method": "counter", "seed": 0}, tmp_path, resume=True
    )


def test_without_checkpoints_the_model_is_gone_on_from(tmp_path):
    """Weights and costs are those of the last checkpoint."""
    run(tmp_path)
    cost = run_folder.read_cost(tmp_path, print)
    shutil.rmtree(tmp_path / "checkpoints")
    assert run_folder.read_cost(tmp_path, print) == cost
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(tmp_path, resume=True)
    assert {path: path.stat().st_mtime_ns for path in written if path.name != ".lock"} == {
        path: moment for path, moment in written.items() if path.name != ".lock"
    }
    (tmp_path / "train.jsonl").unlink()
    unknown = run_folder.read_cost(tmp_path, print)
    assert (unknown.env_steps, math.isnan(unknown.seconds), math.isnan(unknown.flops)) == (
        1000,
        True,
        True,
    )
    with pytest.raises(UserError, match=r"The cost of training .* is unknown"):
        further(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"model\.safetensors is damaged .* Put a copy back\. .* move it away"
    ):
        run(tmp_path, resume=True)


@pytest.mark.parametrize("budget", [Budget(1e-6, "seconds"), Budget(1.0, "flops")])
def test_a_model_whose_cost_is_unknown_is_finished_and_not_trained_further(tmp_path, budget):
    class Multiplier(Counter):
        def update(self, spent=0.0):
            torch.ones(2, 2) @ torch.ones(2, 2)
            return super().update(spent)

    def trained(factor: float, **options) -> bool:
        schedule = dataclasses.replace(SCHEDULE, budget=Budget(budget.amount * factor, budget.unit))
        return loop.train(
            Multiplier(), FAMILY, schedule, {"method": "counter"}, tmp_path, **options
        )

    assert trained(16.0)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "train.jsonl").unlink()
    before = (tmp_path / "config.json").read_bytes()
    shares: list[float] = []
    for more in ({}, {"progress": shares.append}):
        assert trained(16.0, resume=True, **more)
        with pytest.raises(UserError, match=r"The cost of training .* is unknown"):
            trained(1e6, resume=True, **more)
    assert shares == [1.0]
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_budget_that_the_first_update_leaves_far_behind_is_refused(tmp_path):
    """Ten steps an update: a budget of 5 is overshot and told, one of 4.9 is refused, and leaves the folder free."""
    heard: list[str] = []
    for budget in (4.9, 5.0):
        schedule = loop.Schedule(budget=Budget(budget), evaluation_trials=10)
        if budget == 5.0:
            assert loop.train(Counter(), FAMILY, schedule, {}, tmp_path, notify=heard.append)
            continue
        with pytest.raises(
            UserError,
            match=r"One update takes 10 environment steps, 2\.0 times .* Give --budget 10 or more",
        ):
            loop.train(Counter(), FAMILY, schedule, {}, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert len(heard) == 1


def test_updates_that_go_far_past_the_budget_are_told(tmp_path):
    heard: list[str] = []
    schedule = loop.Schedule(budget=Budget(8.0), evaluation_trials=10)
    loop.train(Counter(), FAMILY, schedule, {}, tmp_path, notify=heard.append)
    said = "trained for 10 environment steps, 25% past the budget of 8 environment steps: updates are that long."
    assert heard == [f"{tmp_path}: {said}"]


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(
        UserError,
        match=r"at 70 environment steps: weight is no longer a number.*lower learning rate",
    ):
        run(tmp_path, Counter(nan_at=70))
    state = checkpoint.load_last(tmp_path / "checkpoints", print)
    assert state is not None
    assert state["learner"]["env_steps"] == 60


def test_a_learner_that_gives_up_says_why_and_where(tmp_path):
    class Broken(Counter):
        def update(self, spent=0.0):
            metrics = super().update(spent)
            if self.env_steps == 70:
                raise DivergenceError("Every step exploded.")
            return metrics

    with pytest.raises(
        DivergenceError,
        match=r"at 70 environment steps: Every step exploded\. The last good .* kept",
    ):
        run(tmp_path, Broken())


def test_what_training_left_out_is_told_at_its_end_in_one_line(tmp_path):
    """Two of a hundred updates leave out half of their tasks, one of them all of its outer steps, too."""

    class Refusing(Counter):
        def update(self, spent=0.0):
            half = 0.5 * (self.env_steps in (300, 700))
            return super().update(spent) | {
                "refused": half,
                "skipped": float(self.env_steps == 710),
            }

    heard: list[str] = []
    run(tmp_path, Refusing(), notify=heard.append)
    assert heard == [
        f"{tmp_path}: left out of training, as no number or too long: 1.00% of the tasks (an inner step was refused), "
        "in 2 of 100 updates; 1.00% of the outer steps (skipped), in 1 of 100 updates."
    ]
    silent: list[str] = []
    run(tmp_path / "fine", notify=silent.append)
    assert silent == []


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    class Broken(Counter):
        def update(self, spent=0.0):
            metrics = super().update(spent)
            if self.env_steps == 70:
                self.weight = self.weight / 0
            return metrics

    with pytest.raises(
        DivergenceError, match="at 70 environment steps: weight is no longer a number"
    ):
        run(tmp_path, Broken())
    state = checkpoint.load_last(tmp_path / "checkpoints", print)
    assert state is not None
    assert state["learner"]["env_steps"] == 60
    with pytest.raises(UserError, match="There was no checkpoint yet"):
        run(tmp_path / "at once", Counter(nan_at=10))


def test_counting_operations_leaves_no_trace(tmp_path):
    """The update that is counted is undone: all that is logged and saved is of updates that were paid for."""
    learner = Counter()
    seen = []
    update = learner.update
    learner.update = lambda spent=0.0: seen.append(learner.env_steps) or update(spent)
    run(tmp_path, learner)
    assert seen[:3] == [0, 0, 10]
    assert lines(tmp_path)[0]["env_steps"] == 10


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with files.locked(tmp_path), pytest.raises(UserError, match="Another process is writing"):
        run(tmp_path)


def test_a_budget_that_is_spent_is_not_trained_again(tmp_path):
    run(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert run(tmp_path, resume=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    run(tmp_path)
    checkpoint.save_step(tmp_path / "checkpoints", 2000, {"learner": {"something": "else"}})
    with pytest.raises(UserError, match="another version of its method"):
        run(tmp_path, resume=True)


def test_a_folder_of_another_run_is_refused_by_name(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="--resume"):
        run(tmp_path)
    with pytest.raises(UserError, match="its seed is 0, this one's is 1"):
        loop.train(
            Counter(), FAMILY, SCHEDULE, {"method": "counter", "seed": 1}, tmp_path, resume=True
        )
    with pytest.raises(UserError, match="its method is 'counter', this one's is 'other'"):
        loop.train(
            Counter(),
            FAMILY,
            SCHEDULE,
            {"method": "other", "lr": 1, "seed": 1},
            tmp_path,
            resume=True,
        )
    with pytest.raises(UserError, match="its family is 'bandit:k=2,n=3'"):
        loop.train(
            Counter(),
            make_family("gridnavi"),
            SCHEDULE,
            {"method": "counter", "seed": 0},
            tmp_path,
            resume=True,
        )
    (tmp_path / "config.json").write_text('{"suite_version": 0}')
    with pytest.raises(UserError, match="suite version 0"):
        run(tmp_path, resume=True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        run(tmp_path, resume=True)
