import dataclasses

import pytest
import torch

from bridge.errors import UserError
from bridge.tasks import family
from llm_adapt.prompts.examples import examples
from llm_adapt.prompts.formats import FORMATS, named
from llm_adapt.prompts.renderer import Renderer

BANDIT = family("bandit:k=5,n=30")


def test_a_version_is_part_of_a_name():
    assert named("log") is named("log-v1")
    assert all(named(format.id) is format for format in FORMATS.values())


def test_a_format_of_another_version_is_refused(monkeypatch):
    newer = dataclasses.replace(FORMATS["log"], version=2)
    monkeypatch.setitem(FORMATS, "log", newer)
    assert named("log").id == "log-v2"
    with pytest.raises(UserError, match="log has version 2 here, and log-v1 is asked for"):
        named("log-v1")


def test_demonstrations_are_trials_on_training_tasks():
    shown = examples(named("examples"), BANDIT)
    tasks = BANDIT.sample("train", torch.arange(2))
    for episodes, means in zip(shown, tasks.params["means"].tolist(), strict=True):
        pulls = [line for steps in episodes for line in steps]
        assert len(pulls) == 20
        assert {line.reward for line in pulls} <= {0.0, 1.0}
        earned = sum(means[line.action] for line in pulls) / 20
        assert earned > sum(means) / 5  # Thompson sampling is better than chance
    assert shown == examples(named("examples"), BANDIT)
    text = Renderer(named("examples"), BANDIT, shown).preamble(BANDIT.trial("id"))
    assert text.count("reward") > 40
    assert "Now it is your turn." in text


def test_formats_without_demonstrations_have_none():
    assert examples(named("log"), BANDIT) == ()
