"""Numbers of other studies, as numbers that a claim can be about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bridge.evaluation.stats import Interval
from experiments.studies.measures import Measure, Need, Rows
from experiments.studies.named import Named


@runtime_checkable
class Studies(Protocol):
    """Rows that have numbers of other studies."""

    def numbers(self, study: str) -> Named:
        """Return the numbers of a study by name; none unless it was played."""
        ...


@dataclass(frozen=True)
class Elsewhere(Measure):
    """A number of another study."""

    study: str
    """``concerns``, ``mirror``, ``attribution`` or ``detection``."""
    name: tuple[str, ...]
    """Its name there."""
    words: str
    """What it is."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """None: the other study plays them."""
        return ()

    @property
    def studies(self) -> frozenset[str]:
        """The other study."""
        return frozenset((self.study,))

    def read(self, rows: Rows) -> Interval | None:
        """Return the number; None if it is not there."""
        assert isinstance(rows, Studies)
        return rows.numbers(self.study).get(self.name)

    def __str__(self) -> str:
        return self.words


def relief(testbed: str, mitigation: str) -> Elsewhere:
    """Return the score with a mitigation less that of plain multi-task training, on a testbed of ``concerns``."""
    words = f"{mitigation} less plain training on testbed {testbed}"
    return Elsewhere("concerns", (testbed, mitigation), words)


def nearer(method: str, split: str, *, of: str = "lora_reward:run=icl_rl") -> Elsewhere:
    """Return how much nearer one of ``icl_rl`` and LoRA is to RL² (``rl2``) or MAML (``maml``) than the other one, in
    Cohen's kappa of the likeliest actions after the same histories (``metabridge mirror``)."""
    ours, theirs = ("icl_rl", of) if method == "rl2" else (of, "icl_rl")
    words = f"actions of {ours} and {method} alike, less of {theirs} and {method}, {split}"
    return Elsewhere("mirror", (split, "actions", f"to {method}", of), words)


def order(method: str) -> Elsewhere:
    """Return the total variation between policies after a history and after the same in reverse order, on ``id``."""
    words = f"change of {method}'s policy by the order of a history"
    return Elsewhere("mirror", ("id", "order", method, "reversed"), words)


def part(method: str, name: str, split: str) -> Elsewhere:
    """Return a part of a method's gap to the oracle, in units of score (``metabridge attribute``)."""
    words = f"part of {method}'s gap: {name}, {split}"
    return Elsewhere("attribution", (split, method, name), words)


def foreseen(axis: str, method: str, signal: str, score: str) -> Elsewhere:
    """Return a score of a signal of failure, such as ``auroc``, ``lead`` or ``gain`` (``metabridge detect``)."""
    words = f"{score} of {signal}, {method} under {axis}"
    return Elsewhere("detection", (axis, method, signal, score), words)
