"""Every command that writes, as small as it is still all of itself, and what of its folder must be equal in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bridge.training import loop
from tests import tiny_language_model

FAMILY = "bandit:k=3,n=6"
_TRANSFORMER = "hidden=8,layers=1,heads=2,window=32,steps_per_update=240"
_POLICY_GRADIENT = "hidden=8,tasks_per_update=10,epochs=1"
_PPO, _IMITATION = f"{_TRANSFORMER},minibatches=1,epochs=1", f"{_TRANSFORMER},batch=512,passes=1"
LEARNERS = {
    "icl_rl": _PPO,
    "icl_ad": _IMITATION,
    "icl_dpt": _IMITATION,
    "mt": _PPO,
    "lora_reward_icl_rl": f"{_PPO},rank=2,inner_steps=2,inner_every=2",
    "lora_maml": f"{_PPO},rank=2,inner_every=2,tasks_per_update=20,meta_epochs=1,inner_stages=1,pretraining=0.5",
    "maml": f"{_POLICY_GRADIENT},inner_steps=1,episodes_per_step=2",
    "mtrl": f"{_POLICY_GRADIENT},episodes_per_task=20",
    "mtrl_finetune": f"{_POLICY_GRADIENT},episodes_per_task=20,episodes_per_step=2",
    "mtrl_sequence": f"{_POLICY_GRADIENT},episodes_per_task=20,keep=replay",
    "mtrl_sac": "hidden=8,tasks_per_update=4,episodes_per_task=40,meta_batch=2,batch=4,steps_per_grad=100,"
    "train_tasks=4",
    "pearl": "hidden=8,encoder_hidden=8,latent=2,train_tasks=4,collect_tasks=2,episodes=20,scout_episodes=1,"
    "steps_per_grad=100,meta_batch=2,contexts=2,batch=4",
    "prompted_lora_ad": "model={model},format=terse,rank=2,steps_per_update=48,batch=24",
    "rl2": "hidden=8,steps_per_update=240,minibatches=1,epochs=1",
}
"""Every learner, so small that what it is trained for is ten updates or more. One method stands for those that train a
base and add adapters at test: all of these hold the state of the base alone; ``{model}`` is a tiny language model."""
_RL2 = f"rl2:{LEARNERS['rl2']}"
BASE = ("train", f"icl_rl:{_PPO}", "--family", FAMILY, "--budget", "480")
"""What ``finetune`` is given."""


@dataclass(frozen=True)
class Command:
    """A command without its ``--out``."""

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...] = ()
    """What is added to go on."""
    locks: bool = True
    """Whether it holds its folder; if not, two of them write the same files."""

    def at(self, out: Path, *, again: bool = False, base: Path | None = None) -> list[str]:
        """Its arguments; ``base`` is the run that it is given."""
        given = [str(base) if argument == "BASE" else argument for argument in self.first]
        if any("{model}" in argument for argument in given):
            model = str(tiny_language_model.folder())
            given = [argument.replace("{model}", model) for argument in given]
        return [*given, "--out", str(out), *(self.again if again else ())]


COMMANDS = (
    *(
        Command(
            f"train {name}",
            ("train", f"{name}:{of}", "--family", FAMILY, "--budget", "2400"),
            ("--resume",),
        )
        for name, of in LEARNERS.items()
    ),
    Command("tune", ("tune", _RL2, "--family", FAMILY, "--configs", "2", "--budget", "960")),
    Command(
        "compare",
        (
            "compare",
            "--families",
            FAMILY,
            "--methods",
            f"random,ucb1,{_RL2}",
            "--splits",
            "id,shift/gap/1",
            "--trials",
            "200",
            "--seeds",
            "0",
            "1",
            "--tuning",
            "2",
            "--budget",
            "960",
        ),
    ),
    Command(
        "finetune",
        ("finetune", "BASE", "--family", FAMILY, "--steps", "12", "--batch", "120", "--tasks", "5"),
        ("--resume",),
    ),
    Command(
        "data",
        ("data", "random+ucb1", "--family", FAMILY, "--rows", "8", "--shards", "3"),
        locks=False,
    ),
)
KINDS = tuple(
    command
    for command in COMMANDS
    if command.first[0] != "train" or command.name in ("train rl2", "train icl_dpt")
)
"""One of each kind by the files that it writes: learners differ in the state that they keep in the same files, but for
those that keep the histories that they imitate."""
one_of_each_kind = pytest.mark.parametrize(
    "command", KINDS, ids=lambda command: command.name, indirect=True, scope="session"
)

_CLOCKS = {*loop.CLOCKS, "test_seconds", "train_seconds"}


def products(out: Path) -> dict[str, Any]:
    """What a folder holds by the paths of its files, but for clocks, locks, what a kill left half-written, and
    checkpoints (when they were made depends on the clock; the last state is ``model.safetensors``, too)."""
    found = {}
    for path in sorted(filter(Path.is_file, out.rglob("*"))):
        name = str(path.relative_to(out))
        if path.name.startswith(".") or "checkpoints" in path.relative_to(out).parts:
            continue
        found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.drop_columns([name for name in table.column_names if name in _CLOCKS])
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if key not in _CLOCKS}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of files that are in one only, or not the same in both."""

    def same(a: Any, b: Any) -> bool:
        return a.equals(b) if isinstance(a, pa.Table) and isinstance(b, pa.Table) else a == b

    return [
        name
        for name in found.keys() | expected.keys()
        if not same(found.get(name), expected.get(name))
    ]
