"""Families of a user's own, named by the place of their class."""

import dataclasses
import pickle

import pytest
import torch

from bridge.conformance import FAMILY_CHECKS
from bridge.errors import UserError
from bridge.tasks import family, is_family
from bridge.tasks.bandit import Bandit

TWO_ARMS = """
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bridge.tasks.base import TaskFamily
from bridge.tasks.bandit import Bandit


@dataclass(frozen=True)
class TwoArms(Bandit):
    name = "two_arms"
    k: int = 2
    n: int = 4
    mood: Literal["good", "bad"] = "good"


@dataclass(frozen=True)
class Nameless(Bandit):
    pass


class Broken(TwoArms):
    def __post_init__(self):
        raise KeyError("arms")


class Half(TaskFamily):
    name = "half"


class Mine:
    pass
"""


@pytest.fixture(autouse=True)
def _own(write):
    write("own.py", TWO_ARMS)


def test_its_id_makes_it_again_also_in_another_process(tmp_path):
    """Results, run folders and jobs for other processes hold the id alone."""
    made = family(f"{tmp_path}/own.py:TwoArms:k=3,mood=bad")
    assert isinstance(made, Bandit)
    assert made.id == "own.py:TwoArms:k=3,n=4,mood=bad"
    assert family(made.id) == pickle.loads(pickle.dumps(made)) == made
    assert type(family(made.id)) is type(made)
    other = dataclasses.replace(made, n=5)
    assert other.id == "own.py:TwoArms:k=3,n=5,mood=bad"
    assert other != made


def test_its_tasks_and_its_hash_are_those_of_the_class_wherever_the_file_is(write, monkeypatch):
    write("elsewhere/own.py", TWO_ARMS)
    one, two = family("own.py:TwoArms"), family("elsewhere/own.py:TwoArms")
    assert one.id != two.id
    assert one.hash == two.hash != family("own.py:TwoArms:n=5").hash
    ids = torch.arange(8)
    assert one.sample("id", ids).params["means"].equal(two.sample("id", ids).params["means"])


def test_it_keeps_the_contract_under_its_id():
    for name in ("id_spells_the_family", "hash_distinguishes_tasks", "every_split_plays"):
        FAMILY_CHECKS[name](family("own.py:TwoArms"))


def test_a_place_is_one_of_a_family_or_not():
    assert is_family("own.py:TwoArms:k=3")
    assert is_family("bandit:k=3")
    assert not is_family("own.py:Mine")
    assert not is_family("ucb1:c=1")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own.py:Mine", "own.py:Mine is no subclass of bridge.tasks.base.TaskFamily"),
        ("own.py:TwoArm", "Unknown name in own.py: 'TwoArm'. Did you mean 'TwoArms'"),
        ("own.py:TwoArms:kk=3", "Unknown key in 'own.py:TwoArms:kk=3': 'kk'. Did you mean 'k'"),
        ("own.py:TwoArms:k=two", "k in 'own.py:TwoArms:k=two' must be a whole number"),
        ("own.py:TwoArms:k", "Expected key=value after the colon of 'own.py:TwoArms:k'"),
        (
            "own.py:Nameless",
            "own.py:Nameless is called 'bandit', as one of ours is. Give the class",
        ),
        ("own.py:Broken", "^own.py:Broken cannot be made: own.py, line 26: KeyError: 'arms'$"),
        ("own.py:Half", "own.py:Half cannot be made: TypeError: Can't instantiate abstract class"),
        ("bandit:TwoArms", "Expected key=value after the colon of 'bandit:TwoArms'"),
        ("bandti:k=2", "Unknown task family 'bandti'. Did you mean 'bandit'"),
    ],
)
def test_a_bad_family_is_refused_with_a_remedy(spec, said):
    with pytest.raises(UserError, match=said):
        family(spec)
