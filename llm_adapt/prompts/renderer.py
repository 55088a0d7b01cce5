"""Histories as text in a format, and text as histories: ``read`` undoes ``write`` exactly, up to rounded rewards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.tasks.base import Discrete, TaskFamily
from bridge.tasks.description import Description
from llm_adapt.prompts import words
from llm_adapt.prompts.formats import Format
from llm_adapt.prompts.history import Episodes, Line, Place, Tally, tallies
from llm_adapt.prompts.words import TEMPLATES

ADVICE = (
    "It pays to try every {action} a few times before settling on one, and to go on trying now and then while it is "
    "not clear which is best."
)
_EXAMPLE, _NOW = "Example {number}\n", "Now it is your turn.\n"


class Message(NamedTuple):
    """A part of a prompt: plain text, or a message of a conversation."""

    role: str
    """text, system, user or assistant."""
    content: str


@dataclass(frozen=True)
class Renderer:
    """A format for one family."""

    format: Format
    family: TaskFamily
    examples: tuple[Episodes, ...] = ()
    """Trials that come first, as demonstrations."""

    def __post_init__(self) -> None:
        _ = self.about, self.labels  # raise now rather than in a trial
        if self.format.history == "summary" and self.about.place:
            raise UserError(
                f"format={self.format.name} sums up arms, and {self.family.id} has {self.about.place}s. Choose a "
                "format with a raw history, such as log."
            )

    @cached_property
    def actions(self) -> int:
        """A, the number of actions."""
        space = self.family.action
        assert isinstance(space, Discrete)
        return space.n

    @cached_property
    def about(self) -> Description:
        """The description of the family in the scenario of the format.

        Raises:
            UserError: there is none.
        """
        description = self.family.describe()
        if description is None:
            raise UserError(
                f"{self.family.id} has no description in words (TaskFamily.describe), which prompts are made of."
            )
        return words.in_scenario(self.format, description, self.actions)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The word for each action."""
        description = self.family.describe()
        assert description is not None
        return words.labels(self.format.labels, description, self.actions)

    @property
    def answer(self) -> tuple[str, ...]:
        """The text of each label as it follows a prompt: after a space in plain text, alone in a conversation."""
        space = " " if self.format.layout == "log" else ""
        return tuple(space + label for label in self.labels)

    @property
    def listed(self) -> list[int]:
        """The actions in the order in which they are listed."""
        order = list(range(self.actions))
        return order[::-1] if self.format.order == "reversed" else order

    # --- writing -----------------------------------------------------------------------------------------------------
    def write(self, episodes: Episodes, here: Place, trial: Trial) -> list[Message]:
        """The prompt of the next action, at ``here``; the last of ``episodes`` is the one that goes on."""
        preamble = self.preamble(trial)
        if self.format.layout == "log":
            return [Message("text", preamble + self._told(episodes) + self._query(episodes, here))]
        if self.format.layout == "question":
            ask = self._query(episodes, here) + _ASK
            return [
                Message("system", preamble.rstrip()),
                Message("user", self._told(episodes) + ask),
            ]
        return [Message("system", preamble.rstrip()), *self._dialogue(episodes, here)]

    def preamble(self, trial: Trial) -> str:
        """The part of a prompt that is the same in every step of a trial."""
        about, named = self.about, ", ".join(self.labels[action] for action in self.listed)
        steps = f"{trial.episodes * trial.horizon} {_plural(about.step)}"
        if trial.horizon > 1:
            steps = f"{trial.episodes} episodes of {trial.horizon} {_plural(about.step)}"
        advice = (
            ADVICE.format(action=about.action) + "\n" if self.format.framing == "suggestive" else ""
        )
        shown = "".join(
            _EXAMPLE.format(number=number) + self._told(example)
            for number, example in enumerate(self.examples, 1)
        )
        return (
            f"{about.setting} The goal is the largest sum of rewards over {steps}.\n"
            f"{_plural(about.action).capitalize()}: {named}\n{advice}{shown}{_NOW if shown else ''}"
        )

    def _told(self, episodes: Episodes) -> str:
        """The history in lines."""
        if self.format.history == "summary":
            return "".join(self._summary(episodes))
        return "".join(self._lines(episodes))

    def _lines(self, episodes: Episodes) -> Iterator[str]:
        for number, steps in enumerate(episodes):
            if self._in_episodes:
                yield self._say("episode", number=number + 1)
            for t, line in enumerate(steps):
                query = self._step(number, t, line.place)
                yield f"{query} {self.labels[line.action]}{self._result(line)}"

    def _result(self, line: Line) -> str:
        """What a step brought, and the end of its episode if it ended there."""
        over = ""
        if line.over is not None and self.about.place:
            over = self._say("over", kind=self.about.place, value=_place(line.over))
        return self._say("result", reward=self._number(line.reward)) + over

    def _summary(self, episodes: Episodes) -> Iterator[str]:
        every = tallies(episodes, self.actions)
        for arm in self.listed:
            told = {"action": self.about.action, "label": self.labels[arm]}
            if every[arm].count:
                yield self._say(
                    "pulled", **told, count=every[arm].count, mean=f"{every[arm].mean + 0.0:.2f}"
                )
            else:
                yield self._say("untried", **told)

    def _query(self, episodes: Episodes, here: Place) -> str:
        """The beginning of the line of the next step."""
        return self._step(len(episodes) - 1, len(episodes[-1]), here)

    def _step(self, episode: int, t: int, here: Place) -> str:
        place = ""
        if self.about.place:
            place = self._say("here", kind=self.about.place, value=_place(here))
        number = t if self._in_episodes else episode
        return self._say(
            "query", step=self.about.step, number=number + 1, place=place, action=self.about.action
        )

    def _dialogue(self, episodes: Episodes, here: Place) -> Iterator[Message]:
        """A message before each action, which begins with the result of the one before."""
        before = ""
        for number, steps in enumerate(episodes):
            if self._in_episodes:
                before += self._say("episode", number=number + 1)
            for t, line in enumerate(steps):
                yield Message("user", before + self._step(number, t, line.place))
                yield Message("assistant", self.labels[line.action])
                before = self._result(line).lstrip(" ,-")
        yield Message("user", before + self._query(episodes, here))

    @property
    def _in_episodes(self) -> bool:
        """True if steps are numbered within episodes; a bandit's pulls are episodes of one step each."""
        return bool(self.about.place)

    def _say(self, part: str, **fields: object) -> str:
        """A part of the template with its fields."""
        if self.format.template == "capitals":
            nouns = {"step", "action", "kind"} & fields.keys()
            fields |= {name: str(fields[name]).upper() for name in nouns}
        return getattr(TEMPLATES[self.format.template], part).format(**fields)

    def _number(self, reward: float) -> str:
        if self.format.decimals >= 0:
            return f"{reward:.{self.format.decimals}f}"
        return f"{round(reward, 2) + 0.0:g}"

    # --- reading -----------------------------------------------------------------------------------------------------
    def read(self, messages: list[Message], trial: Trial) -> Episodes:
        """The history in a prompt with a raw history; rewards as they are written.

        Raises:
            ValueError: it holds a line that is not of this format.
        """
        text = self._history(messages, trial)
        episodes: Episodes = [] if self._in_episodes else [[]]
        position = 0
        while found := self._line.match(text, position):
            position = found.end()
            if found["episode"]:
                episodes.append([])
                continue
            action = self.labels.index(found["label"])
            reward, over = float(found["reward"]), () if not self._in_episodes else None
            if self._in_episodes and found["over"]:
                over = _coordinates(found["over"])
            here = _coordinates(found["here"]) if self._in_episodes else ()
            episodes[-1].append(Line(here, action, reward, over))
            if not self._in_episodes:
                episodes.append([])
        if not re.fullmatch(self._pattern("query"), text[position:]):
            raise ValueError(f"Not of format {self.format.name}: {text[position:]!r}")
        return episodes

    def read_summary(self, messages: list[Message], trial: Trial) -> list[Tally]:
        """The pulls of each arm in a prompt with a summary.

        Raises:
            ValueError: the line of an arm is missing.
        """
        text, found = self._history(messages, trial), []
        for label in self.labels:
            told = {"action": self.about.action, "label": label}
            if self._say("untried", **told) in text:
                found.append(Tally(0, 0.0))
                continue
            escaped = re.escape(self._say("pulled", **told, count="COUNT", mean="MEAN"))
            line = escaped.replace("COUNT", r"(\d+)").replace("MEAN", r"(-?[\d.]+)")
            match = re.search(line, text)
            if not match:
                raise ValueError(f"No line of {label} in {text!r}.")
            found.append(Tally(int(match[1]), float(match[2])))
        return found

    def _history(self, messages: list[Message], trial: Trial) -> str:
        """The lines of the history and the query, without all else."""
        if self.format.layout == "log":
            return messages[0].content.removeprefix(self.preamble(trial))
        if self.format.layout == "question":
            return messages[-1].content.removesuffix(_ASK)
        return "\n".join(message.content for message in messages[1:])

    @cached_property
    def _line(self) -> re.Pattern[str]:
        """A line of a step, or of an episode's beginning."""
        gap, result = " ", self._pattern("result")
        if self.format.layout == "dialogue":
            gap, result = "\n", "\n" + result.lstrip("\\ ,-")
        step = f"{self._pattern('query')}{gap}(?P<label>{'|'.join(map(re.escape, self.labels))}){result}"
        over = f"(?:{self._pattern('over')})?" if self._in_episodes else ""
        return re.compile(f"(?P<episode>{self._pattern('episode')})|{step}{over}")

    def _pattern(self, part: str) -> str:
        """A part of the template as a regular expression, with a group for each field that is read."""
        fields = dict.fromkeys(("number", "reward", "value"), "FIELD")
        fields |= {"step": self.about.step, "action": self.about.action, "kind": self.about.place}
        fields["place"] = (
            self._say("here", kind=self.about.place, value="HERE") if self._in_episodes else ""
        )
        text = re.escape(self._say(part, **fields))
        group = {"query": r"\d+", "episode": r"\d+", "result": r"(?P<reward>-?[\d.]+(?:e[-+]\d+)?)"}
        value = r"\(?[-\d., ]+\)?"
        text = text.replace("FIELD", group.get(part, f"(?P<over>{value})"))
        return text.replace("HERE", f"(?P<here>{value})")


_ASK = "? Answer with one of the names above, and nothing else."


def _place(place: Place) -> str:
    """``3`` for a state, ``(3, 4)`` for a cell."""
    numbers = ", ".join(f"{round(number, 2) + 0.0:g}" for number in place)
    return numbers if len(place) == 1 else f"({numbers})"


def _coordinates(text: str) -> Place:
    return tuple(float(number) for number in text.strip("()").split(","))


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
