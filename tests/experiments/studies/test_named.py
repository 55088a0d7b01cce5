"""Numbers of a study by name, and their CSV."""

import pytest

from bridge.errors import UserError
from bridge.evaluation.stats import Interval
from experiments.studies import named

NUMBERS = {
    ("id", "rl2", ""): Interval(0.123456789, 0.1, 0.2, 5, "t"),
    ("shift/prior/4", "lora_reward:run=icl_rl", "a, b"): Interval(1.0, float("nan"), 2.0, 3, "t"),
    ("id", "nobody", ""): Interval(float("nan"), float("nan"), float("nan"), 3, "t"),
}


def test_what_is_written_is_read_but_numbers_that_are_none(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text(named.comma_separated(("split", "method", "part"), NUMBERS), encoding="utf-8")
    found = named.read(path)
    assert list(found) == list(NUMBERS)[:2]
    first = found["id", "rl2", ""]
    assert first[:2] == pytest.approx((0.123457, 0.1))
    assert (first.n, first.high) == (5, 0.2)
    assert found["shift/prior/4", "lora_reward:run=icl_rl", "a, b"].low != 0


@pytest.mark.parametrize("text", ["split,mean\nid,0.1\n", "split,n,mean,low,high\nid,x,0,0,0\n"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, text):
    (tmp_path / "study.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"study\.csv holds no numbers .*Remove it"):
        named.read(tmp_path / "study.csv")
