"""``--vary`` and ``--shift``: what varies between the tasks of a Gymnasium environment, beside ``--family gym:NAME``.

They are a part of the family, so that they are written into its name before the command line is read:

    --family gym:CartPole-v1 --vary length=0.4:0.8 --shift length=0.8:1.6
    --family gym:CartPole-v1,vary=length=0.4..0.8,shift=length=0.8..1.6
"""

from __future__ import annotations

from bridge.errors import UserError

FLAGS = ("vary", "shift")
_FAMILY = ("--family", "--families")


def with_knobs(given: list[str]) -> list[str]:
    """Return a command line in which the family holds what ``--vary`` and ``--shift`` say.

    Raises:
        UserError: they are given without a family of Gymnasium's, or without a value.
    """
    knobs: dict[str, list[str]] = {}
    rest: list[str] = []
    flag = ""
    for word in given:
        name, equals, value = word.partition("=")
        if name.removeprefix("--") in FLAGS and name.startswith("--"):
            flag = name.removeprefix("--")
            knobs.setdefault(flag, []).extend([value] if equals else [])
        elif flag and not word.startswith("--"):
            knobs[flag].append(word)
        else:
            flag = ""
            rest.append(word)
    for flag, values in knobs.items():
        if not values:
            raise UserError(f"--{flag} names nothing. Write --{flag} length=0.4:0.8")
    if not knobs:
        return given
    places = [at for at, word in enumerate(rest) if _family_in(rest, at).startswith("gym:")]
    if len(places) != 1:
        raise UserError(
            f"--{' and --'.join(knobs)} belong to a Gymnasium environment. Give one: --family gym:CartPole-v1"
        )
    text = ",".join(
        f"{flag}={'+'.join(values).replace(':', '..')}" for flag, values in knobs.items()
    )
    rest[places[0]] += f",{text}"
    return rest


def _family_in(words: list[str], at: int) -> str:
    """The family that a word names, by itself or as the value of a flag; empty if it is none."""
    name, _, value = words[at].partition("=")
    return value if name in _FAMILY else words[at]
