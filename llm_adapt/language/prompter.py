"""The tokens of prompts: a renderer's text through a model's tokenizer, with the checks that this needs.

Shape letters: B trials, E episodes, H steps.
"""

from __future__ import annotations

import itertools

from jaxtyping import Bool, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.tasks.base import Discrete
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt.language.models import LanguageModel
from llm_adapt.language.token_tree import Ids, Question, TokenTrees, grow
from llm_adapt.prompts.history import Episodes, Line, Place, histories
from llm_adapt.prompts.renderer import Message, Renderer

_TYPICAL = -0.25
"""A reward as long as most, for the length of prompts."""


class Prompter:
    """Prompts of a format as tokens of a model."""

    def __init__(self, language: LanguageModel, renderer: Renderer) -> None:
        self.language, self.renderer = language, renderer
        self.labels = tuple(language.encode(text) for text in renderer.answer)
        """The tokens of each action's label."""
        self._check_labels()

    def _check_labels(self) -> None:
        """Refuse labels whose scores could not be compared.

        Raises:
            UserError: the tokens of one label begin with those of another.
        """
        for a, one in enumerate(self.labels):
            for b, other in enumerate(self.labels):
                if a != b and one[: len(other)] == other:
                    raise UserError(
                        f"{self.language.name} writes the label {self.renderer.answer[a]!r} as tokens {list(one)}, "
                        f"which begin with those of {self.renderer.answer[b]!r}, {list(other)}: the scores of the two "
                        "could not be compared. Choose a format with other labels, such as letters."
                    )

    def encode(self, messages: list[Message]) -> Ids:
        """The tokens of a prompt."""
        first = messages[0]
        if first.role == "text":
            return self.language.opening + self.language.encode(first.content)
        chat = [{"role": role, "content": content} for role, content in messages]
        return self.language.encode(self.language.chat(chat))

    def prompts(self, buffer: TrialBuffer, episode: Int[Tensor, " B"], obs: Tensor) -> list[Ids]:
        """The prompt of each row's next action.

        Args:
            buffer: the trials so far.
            episode: the number of the episode that goes on.
            obs: the observations to act on.

        Raises:
            UserError: a prompt is longer than the model reads.
        """
        with_places = bool(self.renderer.about.place)
        told = histories(buffer, episode.tolist(), with_places=with_places)
        here = places(obs, with_places)
        found = [
            self.encode(self.renderer.write(episodes, place, buffer.trial))
            for episodes, place in zip(told, here, strict=True)
        ]
        self._check_length(max(map(len, found)))
        return found

    def trees(
        self, buffer: TrialBuffer, predicted: Bool[Tensor, "B E H"], trial: Trial
    ) -> TokenTrees:
        """The prompts of some steps of each trial, in their order, as one tree a trial.

        Args:
            buffer: the trials, or their first episodes.
            predicted: True for these steps: live ones, one of each trial or more.
            trial: the whole trial, which prompts name.

        Raises:
            UserError: a prompt is longer than the model reads.
        """
        with_places = bool(self.renderer.about.place)
        last = [buffer.trial.episodes - 1] * len(buffer.live)
        rows = []
        every = histories(buffer, last, with_places=with_places)
        for told, wanted in zip(every, predicted.tolist(), strict=True):
            questions = []
            for number, steps in enumerate(told):
                for t, line in enumerate(steps):
                    if not wanted[number][t]:
                        continue
                    episodes = [*told[:number], steps[:t]]
                    messages = self.renderer.write(episodes, line.place, trial)
                    questions.append(Question(self.encode(messages), self.labels))
            rows.append(questions)
        self._check_length(max(len(question.prompt) for row in rows for question in row))
        return grow(rows)

    def longest(self, trial: Trial) -> int:
        """The number of tokens of a trial's last prompt with its label, if its rewards are of usual length.

        Raises:
            UserError: the model does not read as many.
        """
        space = self.renderer.family.observation
        place: Place = (space.n - 1.0,) if isinstance(space, Discrete) else space.high
        if not self.renderer.about.place:
            place = ()
        longest = max(range(len(self.labels)), key=lambda a: len(self.labels[a]))
        found, every = 0, range(len(self.labels))
        for actions in ([longest], every):  # a summary is longest if all were played
            played = itertools.cycle(actions)
            steps: Episodes = [
                [Line(place, next(played), _TYPICAL, None) for _ in range(trial.horizon)]
                for _ in range(trial.episodes)
            ]
            for episode in steps:
                episode[-1] = episode[-1]._replace(over=place)
            steps[-1].pop()
            found = max(found, len(self.encode(self.renderer.write(steps, place, trial))))
        tokens = found + max(map(len, self.labels))
        self._check_length(tokens, trial)
        return tokens

    def _check_length(self, tokens: int, trial: Trial | None = None) -> None:
        """Refuse prompts that are longer than the model reads.

        Raises:
            UserError: they are; both numbers are named.
        """
        if tokens > self.language.context:
            which = f" of {trial.episodes} x {trial.horizon} steps" if trial else ""
            raise UserError(
                f"A trial{which} on {self.renderer.family.id} needs a prompt of about {tokens:,} tokens in "
                f"format={self.renderer.format.name}, and {self.language.name} reads {self.language.context:,}. Play "
                "shorter trials, or choose a format with a summary."
            )


def places(obs: Tensor, with_places: bool) -> list[Place]:
    """Each row's observation as a place in a prompt."""
    if not with_places:
        return [()] * len(obs)
    rows = obs if obs.dim() > 1 else obs[:, None]
    return [tuple(row) for row in rows.tolist()]
