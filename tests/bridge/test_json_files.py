"""JSON that a person has edited: every way to break it is refused by the file's name, with the remedy."""

import pytest

from bridge.errors import UserError
from bridge.json_files import check, read_object

REMEDY = "Make another."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "expected JSON"),
        (b"", "expected JSON"),
        (b"[1]", "expected a JSON object, found a list"),
        (b"3", "expected a JSON object, found a whole number"),
        (b"null", "expected a JSON object, found null"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "1e999 is no number"),
        (b'{"a": "\xff"}', "expected text in UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "expected JSON"),
    ],
)
def test_what_is_no_object_is_refused(content, said, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json cannot be read.*{said}.*Make another\."):
        read_object(tmp_path / "a.json", REMEDY)


def test_what_is_missing_or_of_another_type_is_refused(tmp_path):
    types, path = {"n": int, "x": float, "s": str, "c": dict}, tmp_path / "a.json"
    good = {"n": 1, "x": 2, "s": "", "c": {}, "more": None}
    check(good, path, types, REMEDY)
    check({"n": 1, "x": 2.5}, path, types, REMEDY, optional=("s", "c"))
    for key, value, said in (
        ("n", 1.0, "n should be a whole number, found 1.0"),
        ("n", True, "n should be a whole number, found True"),
        ("x", "1", "x should be a number, found '1'"),
        ("s", None, "s should be a string, found None"),
        ("c", [], r"c should be an object, found \[\]"),
    ):
        with pytest.raises(UserError, match=rf"a\.json cannot be read: {said}\. Make another\."):
            check(good | {key: value}, path, types, REMEDY)
    with pytest.raises(UserError, match=r"a\.json cannot be read: missing c, s\. Make another\."):
        check({"n": 1, "x": 1.0}, path, types, REMEDY)
