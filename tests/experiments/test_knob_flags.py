"""What varies between tasks, by flags."""

import pytest

from bridge.errors import UserError
from experiments.knob_flags import with_knobs

FAMILY = "gym:CartPole-v1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("list families", "list families"),
        (
            f"train rl2 --family {FAMILY} --vary length=0.4:0.8 --shift length=0.8:1.6 --out x",
            f"train rl2 --family {FAMILY},vary=length=0.4..0.8,shift=length=0.8..1.6 --out x",
        ),
        (
            f"check --vary a=1:2 b=3:4 --family={FAMILY},steps=9",
            f"check --family={FAMILY},steps=9,vary=a=1..2+b=3..4",
        ),
        (f"check {FAMILY} --vary a=1:2", f"check {FAMILY},vary=a=1..2"),
        (f"check --vary a=1:2 {FAMILY}", f"check {FAMILY},vary=a=1..2"),
        ("check gym --vary a=.5:1e-3 -h", "check gym:vary=a=.5..1e-3 -h"),
        (
            f"compare --families {FAMILY},steps=9,bandit:k=3,n=4 --vary make.id=pkg:Name b=-1.:+2",
            f"compare --families {FAMILY},steps=9,vary=make.id=pkg:Name+b=-1...+2,bandit:k=3,n=4",
        ),
        (
            f"train rl2 --vary=a=1..2 --family {FAMILY}",
            f"train rl2 --family {FAMILY},vary=a=1..2",
        ),
    ],
)
def test_they_are_written_into_the_family(given, expected):
    assert with_knobs(given.split()) == expected.split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train rl2 --vary a=1:2", "is of one Gymnasium environment; found 0"),
        ("train rl2 --family bandit --shift a=1:2", "is of one Gymnasium environment; found 0"),
        (f"train rl2 --family {FAMILY} --vary --out x", "--vary names nothing"),
        (f"compare --families {FAMILY},gym --vary a=1:2", "found 2"),
    ],
)
def test_without_an_environment_or_a_value_they_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        with_knobs(given.split())
