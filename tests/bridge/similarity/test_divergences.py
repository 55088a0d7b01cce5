import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given
from hypothesis import strategies as st

from bridge.similarity.divergences import jensen_shannon, kullback_leibler, total_variation

CHANCES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).dirichlet(np.full(4, 0.3), size=2)
)


@pytest.mark.parametrize(
    ("p", "q", "js", "tv"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0.0, 0.0),
        ([1.0, 0.0], [0.0, 1.0], 1.0, 1.0),
        ([1.0, 0.0], [0.5, 0.5], 0.311278, 0.5),
    ],
)
def test_known_values(p, q, js, tv):
    p, q = np.array(p), np.array(q)
    assert jensen_shannon(p, q) == pytest.approx(js, abs=1e-6)
    assert total_variation(p, q) == pytest.approx(tv)


def test_kl_is_infinite_if_an_action_is_never_taken_by_the_second():
    assert kullback_leibler(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf
    found = kullback_leibler(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    assert found == pytest.approx(np.log(2))


@given(CHANCES)
def test_jensen_shannon_is_the_square_of_scipys_distance(both):
    p, q = both
    expected = scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-9)
    assert jensen_shannon(q, p) == pytest.approx(expected, abs=1e-9)


def test_leading_axes_broadcast():
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 1))
    q = np.random.default_rng(1).dirichlet(np.ones(3), size=(1, 5))
    table = jensen_shannon(p, q)
    assert table.shape == (4, 5)
    assert table[2, 3] == pytest.approx(jensen_shannon(p[2, 0], q[0, 3]))
