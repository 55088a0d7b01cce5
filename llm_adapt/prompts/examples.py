"""Demonstrations in a prompt: trials on training tasks, played by a good agent."""

from __future__ import annotations

import torch

from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Trial
from bridge.references.registry import reference
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt.histories import default_sources
from llm_adapt.prompts.formats import Format
from llm_adapt.prompts.history import Episodes, histories

_STEPS = 20
"""Most steps of an example."""


def examples(format: Format, family: TaskFamily) -> tuple[Episodes, ...]:
    """The trials that a format shows first: the beginnings of trials on the first training tasks.

    They are played by the learner that algorithm distillation imitates (``default_sources``).
    """
    if not format.examples:
        return ()
    whole = family.trial("train")
    trial = Trial(max(1, min(whole.episodes, _STEPS // whole.horizon)), whole.horizon)
    numbers = torch.arange(format.examples)
    agent = reference(default_sources("icl_ad", family)[0], family, "train")
    tasks, noise = family.sample("train", numbers), TrialNoise.of("prompt/examples", numbers)
    buffer = TrialBuffer.empty(family.observation, family.action, trial, numbers)
    for number, steps in enumerate(record_context(agent, family, "train", tasks, noise, trial)):
        for step in steps:
            buffer.record(step, torch.full_like(numbers, number))
    description = family.describe()
    with_places = bool(description and description.place)
    last = [trial.episodes - 1] * len(numbers)
    return tuple(histories(buffer, last, with_places=with_places))
