"""``name:key=value``: what is read, what is refused and in which words, and that the canonical spelling comes back."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import build, spec_of, split_spec
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
    assert read("m:k=7,rate=1e-3,kind=hard,deep=True") == Options(k=7, rate=1e-3, kind="hard", deep=True)
    assert read("m") == Options()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m:k", "Expected key=value after the colon of 'm:k', found 'k'. Write m:key=value,..."),
        ("m:=5", "Expected key=value"),
        ("m:k=", "Expected key=value"),
        ("m:k=1,k=2", "The key 'k' stands twice in 'm:k=1,k=2'."),
        ("m:rat=1", "Unknown key in 'm:rat=1': 'rat'. Did you mean 'rate'? Known: deep, k, kind, rate."),
        ("m:k=five", "k in 'm:k=five' must be a whole number, found 'five'."),
        ("m:k=1.5", "must be a whole number"),
        ("m:rate=fast", "rate in 'm:rate=fast' must be a number, found 'fast'."),
        ("m:kind=hart", "Unknown value of 'kind' in 'm:kind=hart': 'hart'. Did you mean 'hard'? Known: easy, hard."),
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
        k=st.integers(),
        rate=st.floats(allow_nan=False, allow_infinity=False),
        kind=st.sampled_from(["easy", "hard"]),
        deep=st.booleans(),
    )
)
def test_a_spelling_reads_back_as_the_same_options(options: Options) -> None:
    assert read(spec_of("m", options)) == options
