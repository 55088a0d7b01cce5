"""Model cards: the ``README.md`` of a run folder, with what was measured in its metadata.

The metadata are those of the Hugging Face Hub (``model-index``), which ``huggingface_hub.ModelCard.load`` reads. No
network is used.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from bridge import files
from bridge.evaluation.stats import Interval
from bridge.protocol import Card
from bridge.tasks.base import TaskFamily
from bridge.training import run_folder, train_log
from bridge.words import counted
from experiments.registry import LEARNERS

_LEARNING = "reinforcement-learning"
_RETURN = "id_val_trial_return"


class Measured(NamedTuple):
    """The return of a trial on a split."""

    split: str
    value: Interval


def write(folder: Path, family: TaskFamily, card: Card, command: str) -> None:
    """Write the model card of a run whose budget is spent.

    Args:
        folder: the run folder.
        family: the family of the run.
        card: of the agent.
        command: the command that made the run.
    """
    about = run_folder.read_config(folder)
    found = last_measured(folder, about)
    text = _text(folder, about, card, command, found)
    files.write_text(folder / "README.md", content(about, family, found, text))


def last_measured(folder: Path, about: Mapping[str, Any]) -> list[Measured]:
    """The return on ``id_val`` after the last update, as the log of a run has it; empty if it has none."""
    lines, _ = train_log.read(folder)
    if not lines or not {_RETURN, f"{_RETURN}_half"} <= lines[-1].keys():
        return []
    mean, half = lines[-1][_RETURN], lines[-1][f"{_RETURN}_half"]
    n = about["schedule"]["evaluation_trials"]
    return [Measured("id_val", Interval(mean, mean - half, mean + half, n, "trials"))]


def content(
    about: Mapping[str, Any], family: TaskFamily, measured: Sequence[Measured], text: str
) -> str:
    """A model card of metadata and ``text``.

    Args:
        about: the ``config.json`` of the run.
        family: the family of the run.
        measured: the returns of its agent, in any order.
        text: Markdown.
    """
    data = ModelCardData(
        library_name="transformers" if "model_type" in about else "metabridge",
        pipeline_tag=_LEARNING,
        tags=["metabridge", "meta-reinforcement-learning", about["method"], family.name],
        model_name=f"{about['method']} on {family.id}, training seed {about['seed']}",
        eval_results=[_result(family, each) for each in measured] or None,
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}"))


def _result(family: TaskFamily, measured: Measured) -> EvalResult:
    value = measured.value
    return EvalResult(
        task_type=_LEARNING,
        dataset_type=family.name,
        dataset_name=f"{family.id}, {measured.split}",
        dataset_split=measured.split,
        dataset_revision=family.hash,
        metric_type="trial_return",
        metric_name="Mean return of a trial",
        metric_value=value.mean,
        metric_args={"n": value.n, "low": value.low, "high": value.high, "coverage": 0.95},
    )


def _text(
    folder: Path,
    about: Mapping[str, Any],
    card: Card,
    command: str,
    measured: Sequence[Measured],
) -> str:
    """The Markdown of the card of a run."""
    method, family, seed = about["method"], about["family"], about["seed"]
    rows = "\n".join(
        f"| {split} | {value.mean:.4g} ±{value.half:.2g} | {value.n:,} |"
        for split, value in measured
    )
    return f"""# {method} on {family}, training seed {seed}

| | |
|---|---|
| weights | {card.params_total:,}, of which {card.params_trained:,} were trained |
| trained on | {family}, {_tasks(about)}; supervision: {card.supervision} |
| cost | {_cost(folder)} |
| selected by | last checkpoint, {counted(about["tuning_configs"], "configuration")} |

    {_wrapped(command)}

| split | mean return of a trial, 95% interval | trials |
|---|---|---|
{rows or "| none was evaluated | | |"}
{_use(about)}
{_limits(about)}
"""


def _tasks(about: Mapping[str, Any]) -> str:
    if LEARNERS[about["method"]].of_test_tasks:
        return f"the test tasks of {about['config']['splits']}"
    return "training tasks"


def _cost(folder: Path) -> str:
    cost = run_folder.read_cost(folder, lambda _text: None)
    steps = counted(cost.env_steps, "environment step"), counted(cost.grad_steps, "gradient step")
    return ", ".join(steps)


def _wrapped(command: str) -> str:
    """A command in lines that a shell joins."""
    return command.replace(" --family ", " \\\n      --family ")


def _use(about: Mapping[str, Any]) -> str:
    """The lines that open the policy; none if transformers cannot."""
    if "model_type" not in about:
        return ""
    return """
```python
import llm_adapt.policy  # AutoModel now knows the type
from transformers import AutoModel

policy = AutoModel.from_pretrained("THIS_FOLDER")
```
"""


def _limits(about: Mapping[str, Any]) -> str:
    """The last paragraph."""
    if LEARNERS[about["method"]].of_test_tasks:
        return (
            "This is a reference, by which the scores of others are measured. It was trained on the tasks that it is "
            "tested on."
        )
    sentences = [
        "This is one training seed. `id_val` is evaluated while a run is trained, and configurations are chosen on it: "
        "the test split is `id`. The agent has met training tasks of this family alone; `metabridge evaluate "
        "THIS_FOLDER --splits id,shift` shows what shifts cost it.",
    ]
    if about.get("earlier_budgets"):
        sentences.append("The budget was raised once the run had begun.")
    if "model_type" in about:
        sentences.append(
            "`AutoModel` opens the network alone: its inputs are tokens as `llm_adapt/tokens.py` makes them, and "
            "adapters that take steps in a trial are no part of it."
        )
    return textwrap.fill(" ".join(sentences), 120, break_on_hyphens=False, break_long_words=False)
