"""Does adaptation in context replace fine-tuning? Curves over shots and gradient steps, at home and under shift.

    python -m experiments.few_shot --family bandit:k=5,n=20 --runs runs/* --splits id,shift/gap --out results/few

Every run is played as it is (0 gradient steps), and with 1, 5, 20 and 100 gradient steps before each scored episode,
on all of its weights (``full_reward``) and, where it is a transformer, on adapters (``lora_reward``) or its last layer
(``head_reward``). Methods that take gradient steps of their own kind (``own``: MAML, ``lora_maml``) take so many each
time that they do; ``taken`` says how many that were. An agent explores on its own for so many episodes (track F), takes
its gradient steps on what it has seen, and is scored frozen. With ``--signal demos`` it is shown the oracle's episodes
instead (track C), and clones them. This is few-shot *per task*: what is tuned on one task is scored on that task.

Tables: the return of the scored episode by shots, and what fine-tuning adds to the same run without it, paired on runs
and tasks. Intervals are for new tasks and these very runs, of which there are few as a rule. Beside each stand the
seconds and operations of a trial with all of its scored episodes and the gradient steps before each of them; operations
are counted on two trials of a method's first run on the first split, since counting takes longer than playing. The
claim: what adapts in context, as it is, less what adapts by gradient steps alone, with most of them. Cells are kept in
OUT, and played once.

Shape letters: S runs (training seeds) of a method, T blocks of tasks, P curve points.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.flop_counter import FlopCounterMode

from bridge import results, run_folder
from bridge.errors import UserError
from bridge.evaluate import Plan, evaluate
from bridge.files import write_text
from bridge.finetuning.agent import Stepping
from bridge.protocol import Agent
from bridge.stats import Resampled, interval
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import methods
from experiments.compare import expand_splits
from llm_adapt.in_context import InContext
from llm_adapt.mt import OneEpisode

BUDGETS = (0, 1, 5, 20, 100)
"""Gradient steps before a scored episode."""
RATES = {"lora": 1e-2, "head": 1e-2, "full": 1e-3}
"""Learning rates: usual ones for each way, not tuned."""
_NEVER = 1 << 20


class Cell(NamedTuple):
    """One run, tuned in one way with one budget, on one split."""

    run: Path
    method: str
    way: str
    """``full_reward`` and the like; ``own``; empty where nothing is tuned."""
    steps: int
    split: str
    track: str
    alone: bool = False
    """Whether gradient steps are its only way to learn from one episode for the next."""

    @property
    def spec(self) -> str:
        """As the command names it."""
        if not self.steps:
            return str(self.run)
        if self.way == "own":
            return f"full_reward:run={self.run},inner_steps={self.steps}"
        rate = RATES[self.way.split("_")[0]]
        return f"{self.way}:run={self.run},inner_steps={self.steps},inner_every={_NEVER},inner_lr={rate:g}"

    @property
    def file(self) -> str:
        """Where it is kept."""
        place = hashlib.sha256(str(self.run.resolve()).encode()).hexdigest()[:8]
        parts = (
            self.run.name,
            place,
            self.way or "as-it-is",
            str(self.steps),
            self.split.replace("/", "-"),
            self.track,
        )
        return f"{'--'.join(parts)}.parquet"


def play(cell: Cell, family: TaskFamily, *, shots: int, trials: int, out: Path, flops: float | None = None) -> Path:
    """Play a cell that was not played yet; the operations of a trial are counted where they are not given."""
    path = out / cell.file
    if path.exists():
        return path
    plan = Plan(split=cell.split, trials=trials, track=cell.track, shots=shots)  # ty: ignore[invalid-argument-type]
    shown = methods.agent("oracle", family, cell.split) if cell.track == "C" else None
    agent = _agent(cell, family)
    played = evaluate(agent, family, plan, behaviour=shown)
    if flops is None:
        with FlopCounterMode(display=False) as counter:
            evaluate(agent, family, dataclasses.replace(plan, trials=2), behaviour=shown)
        flops = counter.get_total_flops() / 2
    card = dataclasses.replace(agent.card, method=f"{cell.way} {cell.method} {cell.steps}".strip())
    seed = run_folder.read_config(cell.run)["seed"]
    results.write_table(path, results.rows(played, family, card, seed=seed, flops=flops))
    return path


def _agent(cell: Cell, family: TaskFamily) -> Agent:
    """Who plays; without gradient steps, one whose method they are (MAML) takes none either."""
    agent = methods.agent(cell.spec, family, cell.split)
    return agent.with_steps(0) if not cell.steps and isinstance(agent, Stepping) else agent


class Curve(NamedTuple):
    """What a cell gave."""

    points: tuple[int, ...]
    score: Float[np.ndarray, "T P"]
    """Mean return of the scored episode on each block of tasks."""
    grad_steps: float
    seconds: float
    """Of a trial."""
    flops: float
    """Of a trial."""
    trained: int
    """Weights."""


def read(path: Path) -> Curve:
    """One file of ``play``."""
    table = results.read_file(path)
    names = ("task_id", "k_episodes", "episode_return_n", "episode_return_sum")
    task, episodes, n, total = (table[name].to_numpy() for name in names)
    points, point = np.unique(episodes, return_inverse=True)
    place, shape = task * len(points) + point, (task.max() + 1, len(points))
    sums = np.stack([np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (n, total)])
    seconds, flops, trained = (table[name][0].as_py() for name in ("test_seconds", "test_flops", "params_trained"))
    steps, trials = float(table["test_grad_steps"].to_numpy().max()), sums[0, :, 0].sum()
    return Curve(tuple(points.tolist()), sums[1] / sums[0], steps, seconds / trials, flops, trained if steps else 0)


def cells(
    runs: list[Path], family: TaskFamily, splits: tuple[str, ...], signal: str, what: tuple[str, ...],
    budgets: tuple[int, ...],
) -> Iterator[Cell]:  # fmt: skip
    """Every cell of a study, those that are tuned least first.

    Raises:
        UserError: a run that cannot be played or tuned.
    """
    track, known = "C" if signal == "demos" else "F", {}
    for run in runs:
        agent, method = methods.agent(str(run), family, "id"), str(run_folder.read_config(run)["method"])
        ways = [f"{one}_{signal}" for one in what] if isinstance(agent, InContext) else [f"full_{signal}"]
        if isinstance(agent, Stepping):
            ways = ["own"] if signal == "reward" else []
        for way in ways:
            methods.agent(Cell(run, method, way, 1, "id", track).spec, family, "id")
        known[run] = (method, ways, isinstance(agent, Stepping | OneEpisode))
    for steps in sorted({0, *budgets}):
        for run, (method, ways, alone) in known.items():
            for way in ways if steps else [""]:
                yield from (Cell(run, method, way, steps, split, track, alone) for split in splits)


def show(found: dict[Cell, Curve]) -> None:
    """Tables, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        some = {cell: curve for cell, curve in found.items() if cell.split == split}
        points = next(iter(some.values())).points
        print(f"\n**{split}** · return of the scored episode after so many shots (0 steps: as it is)\n")
        print(
            f"| method | tuned | steps | taken | weights | {' | '.join(map(str, points))} | minus 0 steps | s | Mflop |"
        )
        print("|---|---|--:|--:|--:|" + "--:|" * (len(points) + 3))
        for method, way, steps in dict.fromkeys((c.method, c.way, c.steps) for c in some):
            mine = [(c, v) for c, v in some.items() if (c.method, c.way, c.steps) == (method, way, steps)]
            score = np.stack([v.score for _, v in mine])
            base = np.stack([some[c._replace(way="", steps=0)].score for c, _ in mine])
            means = [_text(score[:, :, p]) for p in range(len(points))]
            gain = _text((score - base)[:, :, -1]) if steps else ""
            cost = [
                np.mean([getattr(v, name) for _, v in mine]) for name in ("grad_steps", "trained", "seconds", "flops")
            ]
            print(
                f"| {method} | {way} | {steps} | {cost[0]:g} | {cost[1]:,.0f} | {' | '.join(means)} | {gain} | "
                f"{cost[2]:.3f} | {cost[3] / 1e6:,.0f} |"
            )


def show_claim(found: dict[Cell, Curve]) -> None:
    """What adapts in context less what adapts by gradient steps alone, after the last shot, as Markdown."""
    most = max(cell.steps for cell in found)
    for split in dict.fromkeys(cell.split for cell in found):
        last: dict[tuple[str, str], list[Float[np.ndarray, " T"]]] = {}
        for cell, curve in found.items():
            if cell.split == split and cell.steps == (most if cell.alone else 0):
                last.setdefault((cell.method, cell.way), []).append(curve.score[:, -1])
        score = {key: np.mean(rows, 0) for key, rows in last.items()}
        tuned = [key for key in score if key[1]]
        if not tuned or len(tuned) == len(score):
            continue
        print(f"\n**{split}** · in context, less gradient steps alone ({most} of them)\n")
        print(f"| in context | return | {' | '.join(f'less {method} {way}' for method, way in tuned)} |")
        print("|---|--:|" + "--:|" * len(tuned))
        for method, way in (key for key in score if not key[1]):
            mine = score[method, way]
            print(f"| {method} | {_text(mine[None])} | {' | '.join(_verdict(mine - score[key]) for key in tuned)} |")


def _verdict(gap: Float[np.ndarray, " T"]) -> str:
    """A difference with its interval, and which side of 0 that is on."""
    found = interval(Resampled.mean, gap)
    side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "even"
    return f"{_text(gap[None])} {side}"


def _text(score: Float[np.ndarray, "S T"]) -> str:
    """The mean over runs and tasks, ± half of a 95% interval."""
    found = interval(Resampled.mean, score.mean(0))
    return f"{found.mean:.3f} ±{(found.high - found.low) / 2:.3f}"


def main() -> None:
    """Play what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="bandit:k=5,n=20")
    parser.add_argument("--runs", nargs="+", type=Path, required=True, help="run folders; seeds of a method are pooled")
    parser.add_argument("--splits", default="id", help="names or patterns, joined by commas")
    parser.add_argument("--signal", choices=("reward", "demos"), default="reward")
    parser.add_argument("--tuned", nargs="+", choices=tuple(RATES), default=("lora", "full"), help="of transformers")
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="gradient steps")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        _study(asked)
    except UserError as error:
        sys.exit(f"few_shot: {error}")


def _study(asked: argparse.Namespace) -> None:
    family = make_family(asked.family)
    if not 1 <= asked.shots <= (most := family.trial("id").episodes):
        raise UserError(f"--shots is 1 to {most}, the episodes of a trial of {family.id}; found {asked.shots}.")
    if asked.trials < 2 or min(asked.budgets) < 0:
        raise UserError(f"--trials is 2 or more and --budgets 0 or more; found {asked.trials} and {asked.budgets}.")
    splits = tuple(expand_splits(family, tuple(asked.splits.split(",")), shown=asked.signal == "demos"))
    asked.out.mkdir(parents=True, exist_ok=True)
    _claim(asked.out, {"family": family.hash, "shots": asked.shots, "trials": asked.trials, "rates": RATES})
    found: dict[Cell, Curve] = {}
    counted: dict[tuple[str, str, int], float] = {}
    for cell in list(cells(asked.runs, family, splits, asked.signal, tuple(asked.tuned), tuple(asked.budgets))):
        alike = (cell.method, cell.way, cell.steps)
        path = play(
            cell, family, shots=asked.shots, trials=asked.trials, out=asked.out, flops=counted.get(alike)
        )  # fmt: skip
        found[cell] = read(path)
        counted.setdefault(alike, found[cell].flops)
    show(found)
    show_claim(found)


def _claim(out: Path, about: dict[str, Any]) -> None:
    """A folder holds the cells of one study."""
    path = out / "study.json"
    if path.exists() and (held := json.loads(path.read_text())) != about:
        raise UserError(f"{out} holds another study: {held}, not {about}. Choose another --out.")
    write_text(path, json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
