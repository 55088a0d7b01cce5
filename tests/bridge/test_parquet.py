"""Parquet files carry a checksum of every byte: no flipped bit changes a number in silence."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as plain

from bridge import parquet
from bridge.errors import UserError

TABLE = pa.table(
    {
        "name": pa.array(["rl2", "maml"] * 20).dictionary_encode(),
        "n": np.arange(40),
        "x": np.linspace(0, 1, 40),
    }
).replace_schema_metadata({"suite_version": "1"})

MARK = b"metabridge-sha256:"


def flipped(data: bytes, place: int, bit: int) -> bytes:
    """With that bit of that byte the other way round."""
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@pytest.fixture
def path(tmp_path):
    parquet.write(tmp_path / "rows.parquet", TABLE)
    return tmp_path / "rows.parquet"


def test_a_file_holds_the_very_table_and_other_programs_read_it(path):
    assert parquet.read(path, remedy="").equals(TABLE)
    assert plain.read_table(path).equals(TABLE)
    assert plain.ParquetFile(path, page_checksum_verification=True).read().equals(TABLE)
    assert parquet.read(path, ["x"], remedy="").schema.names == ["x"]


def test_no_flipped_bit_changes_anything_in_silence(path):
    """A bit of each byte of the checksum, where it stands, and of 150 others. With its name damaged, a file counts as
    another program's, and is read as it is."""
    whole, random = path.read_bytes(), np.random.default_rng(0)
    mark = whole.rindex(MARK)
    silent, said = [], set()
    for place in (
        *range(mark - 4, mark + len(MARK) + 68),
        *random.choice(len(whole), 150, replace=False),
    ):
        path.write_bytes(flipped(whole, place, random.integers(8)))
        try:
            found = parquet.read(path, remedy="")
        except UserError as error:
            said.add(str(error).partition(" (")[0])
        else:
            assert found.equals(TABLE)
            silent.append(place)
    assert said == {f"{path} cannot be read"}
    assert all(mark - 4 <= place < mark + len(MARK) for place in silent)


def test_a_file_cut_short_or_grown_is_refused_with_the_remedy(path):
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:100], whole + b"\0", b"PAR1 not really"):
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"rows\.parquet cannot be read \(.*\)\. Play it again\."
        ):
            parquet.read(path, remedy="Play it again.")


def test_a_file_of_another_program_is_read_and_its_pages_verified(tmp_path):
    path = tmp_path / "other.parquet"
    plain.write_table(TABLE, path, write_page_checksum=True, compression="none")
    assert parquet.read(path, remedy="").equals(TABLE)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, whole.index(np.linspace(0, 1, 40)[7].tobytes()), 6))
    with pytest.raises(UserError, match="page integrity"):
        parquet.read(path, remedy="")


def test_a_file_that_may_not_be_read_is_not_called_damaged(path):
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"rows\.parquet cannot be read: Is a directory") as error:
        parquet.read(path, remedy="Remove it.")
    assert "Remove it" not in str(error.value)
