"""Numbers of things in sentences."""

import pytest

from bridge.words import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (1200, "1,200 cells")]
)
def test_a_noun_agrees_with_its_number(number, said):
    assert counted(number, "cell") == said
