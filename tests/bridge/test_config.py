"""``name:key=value``: what is read, what is refused and in which words, and that the canonical spelling comes back."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import (
    Bounded,
    Count,
    CountOrZero,
    Holds,
    Positive,
    PositiveShare,
    Share,
    Width,
    WidthOrZero,
    allowed,
    build,
    spec_of,
    split_spec,
)
from bridge.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    k: int = 5
    rate: float = 0.1
    kind: Literal["easy", "hard"] = "easy"
    deep: bool = False


def read(spec: str) -> Options:
    return build(Options, spec, split_spec(spec)[1])


def test_a_spec_is_a_name_and_its_values() -> None:
    assert split_spec("bandit") == ("bandit", {})
    assert split_spec("bandit:k=5,n=10") == ("bandit", {"k": "5", "n": "10"})
    assert split_spec(" bandit: k=5 , n=10, ") == ("bandit", {"k": "5", "n": "10"})
    assert split_spec("m:url=a=b") == ("m", {"url": "a=b"})


def test_values_take_the_types_of_their_fields() -> None:
    assert read("m:k=7,rate=1e-3,kind=hard,deep=True") == Options(
        k=7, rate=1e-3, kind="hard", deep=True
    )
    assert read("m") == Options()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m:k", "Expected key=value after the colon of 'm:k', found 'k'. Write m:key=value,..."),
        ("m:=5", "Expected key=value"),
        ("m:k=", "Expected key=value"),
        ("m:k=1,k=2", "The key 'k' occurs twice in 'm:k=1,k=2'."),
        (
            "m:rat=1",
            "Unknown key in 'm:rat=1': 'rat'. Did you mean 'rate'? Known: deep, k, kind, rate.",
        ),
        ("m:k=five", "k in 'm:k=five' must be a whole number, found 'five'."),
        ("m:k=1.5", "must be a whole number"),
        ("m:rate=fast", "rate in 'm:rate=fast' must be a number, found 'fast'."),
        (
            "m:kind=hart",
            "Unknown value of 'kind' in 'm:kind=hart': 'hart'. Did you mean 'hard'? Known: easy, hard.",
        ),
        ("m:deep=yes", "deep in 'm:deep=yes' is true or false, found 'yes'."),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(spec: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(spec)
    assert message in str(error.value)


def test_the_canonical_spelling_shows_what_differs_and_what_it_always_shows() -> None:
    assert spec_of("m", Options()) == "m"
    assert spec_of("m", Options(), always=("k",)) == "m:k=5"
    assert spec_of("m", Options(kind="hard", deep=True, rate=2.0)) == "m:rate=2,kind=hard,deep=true"


@given(
    st.builds(
        Options,
        k=st.integers(-1_000_000, 1_000_000),
        rate=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
        kind=st.sampled_from(["easy", "hard"]),
        deep=st.booleans(),
    )
)
def test_a_spelling_reads_back_as_the_same_options(options: Options) -> None:
    assert read(spec_of("m", options)) == options


@dataclass(frozen=True, kw_only=True)
class Numbers(Bounded):
    count: Count = 1
    extra: CountOrZero = 0
    rate: PositiveShare = 0.1
    share: Share = 1.0


class Called(Numbers):
    display_name: ClassVar[str] = "The method"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "count 1 or more; found 0."),
        ({"extra": -1}, "extra 0 or more; found -1."),
        ({"rate": 0.0}, "rate above 0; found 0.0."),
        ({"rate": 1.5}, "rate from 0 to 1; found 1.5."),
        ({"share": -0.5}, "share from 0 to 1; found -0.5."),
        ({"share": math.nan}, "share from 0 to 1; found nan."),
    ],
)
def test_numbers_out_of_bounds_are_refused_by_name(values: dict, said: str) -> None:
    with pytest.raises(UserError) as error:
        Called(**values)
    assert str(error.value) == f"The method needs {said}"
    with pytest.raises(UserError) as error:
        Numbers(**values)
    name, rest = said.split(" ", 1)
    assert str(error.value) == f"{name} must be {rest}"


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Literal["easy", "hard"], "easy | hard"),
        (bool, "true | false"),
        (str, ""),
        (int, "a whole number"),
        (float, "a number"),
        (Count, "1 or more"),
        (Width, "1 to 16,384"),
        (WidthOrZero, "0 to 16,384"),
        (Share, "from 0 to 1"),
        (PositiveShare, "above 0 and from 0 to 1"),
        (Annotated[Positive, Holds("below 1")], "above 0 and below 1"),
    ],
)
def test_the_values_of_a_type_in_words(hint: Any, words: str) -> None:
    assert allowed(hint) == words


def test_bounds_themselves_are_within() -> None:
    Numbers(count=1, extra=0, rate=1.0, share=0.0)
