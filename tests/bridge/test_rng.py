"""Named noise: its laws, its independence, and that a draw depends on (seed, row, name) alone.

All statistics are computed on fixed seeds, so that they pass or fail for good.
"""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from bridge.conformance.snapshot import global_noise, other_python_noise
from bridge.errors import ContractError, DivergenceError
from bridge.rng import Rows

N = 40_000
IDS = torch.arange(N)
ROWS = Rows.of(7, IDS)
P = 1e-3
"""Each statistic below fails for one seed in a thousand; the seed is fixed."""


def numbers(draw: Tensor) -> np.ndarray:
    return draw.double().flatten().numpy()


# --- uniform ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_uniform_and_never_0_nor_1(dtype: torch.dtype) -> None:
    draw = ROWS.uniform(25, dtype=dtype)
    assert draw.dtype == dtype
    assert 0 < float(draw.min()) <= float(draw.max()) < 1
    assert stats.kstest(numbers(draw), "uniform").pvalue > P


@pytest.mark.parametrize(
    ("bits", "dtype"),
    [(0, torch.float32), (-1, torch.float32), (0, torch.float64), (-1, torch.float64)],
)
def test_the_extreme_words_stay_inside_the_interval(bits: int, dtype: torch.dtype) -> None:
    class Extreme(Rows):
        def bits(self, *shape: int) -> Tensor:
            return torch.full((len(self), *shape), bits)

    rows = Extreme(torch.zeros(1, dtype=torch.int64))
    u = rows.uniform(dtype=dtype)
    assert 0 < float(u) < 1
    assert bool(rows.normal(dtype=dtype).isfinite())
    assert bool(rows.exponential(dtype=dtype).isfinite())
    assert int(rows.integers(5)) == (0 if bits == 0 else 4)


def test_every_bit_of_a_word_is_fair() -> None:
    words = ROWS.at("bits").bits(4).flatten()
    ones = torch.stack([(words >> b) & 1 for b in range(64)]).double().mean(1).numpy()
    z = (ones - 0.5) * 2 * np.sqrt(len(words))
    assert stats.kstest(z, "norm").pvalue > P


def _streams() -> dict[str, Tensor]:
    """Uniforms of the same shape that ought to know nothing of one another."""
    return {
        "plain": ROWS.uniform(),
        "next row": Rows.of(7, IDS + 1).uniform(),
        "other seed": Rows.of(8, IDS).uniform(),
        "lane 0": ROWS.uniform(3)[:, 0],
        "lane 1": ROWS.uniform(3)[:, 1],
        "a": ROWS.at("a").uniform(),
        "b": ROWS.at("b").uniform(),
        "0": ROWS.at(0).uniform(),
        "1": ROWS.at(1).uniform(),
        "a/b": ROWS.at("a", "b").uniform(),
        "b/a": ROWS.at("b", "a").uniform(),
        "fork 0": ROWS.fork(2).uniform()[::2],
        "fork 1": ROWS.fork(2).uniform()[1::2],
    }


def test_rows_lanes_names_seeds_and_forks_are_independent() -> None:
    streams = {name: numbers(draw) for name, draw in _streams().items()}
    for (one, x), (other, y) in combinations(streams.items(), 2):
        table, _, _ = np.histogram2d(x, y, bins=8, range=[[0, 1], [0, 1]])
        assert stats.chisquare(table.flatten()).pvalue > P / 10, (one, other)


def test_neighbouring_rows_are_independent() -> None:
    u = numbers(ROWS.uniform())
    for lag in (1, 2, 3, 64, 1024):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 4 / np.sqrt(N)


# --- the other laws ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_and_exponential(dtype: torch.dtype) -> None:
    assert stats.kstest(numbers(ROWS.normal(5, dtype=dtype)), "norm").pvalue > P
    assert stats.kstest(numbers(ROWS.exponential(5, dtype=dtype)), "expon").pvalue > P


@pytest.mark.parametrize("shape", [0.1, 0.5, 0.99, 1.0, 1.5, 4.0, 100.0])
def test_gamma(shape: float) -> None:
    draw = numbers(ROWS.gamma(torch.full((N,), shape, dtype=torch.float64)))
    assert stats.kstest(draw, stats.gamma(shape).cdf).pvalue > P
    assert abs(draw.mean() - shape) < 4 * np.sqrt(shape / N)
    assert abs(draw.var() - shape) < 4 * np.sqrt((2 * shape**2 + 6 * shape) / N)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 0.5), (2.0, 5.0), (30.0, 3.0)])
def test_beta(a: float, b: float) -> None:
    draw = numbers(ROWS.beta(torch.full((N,), a), torch.full((N,), b)))
    assert stats.kstest(draw, stats.beta(a, b).cdf).pvalue > P


@pytest.mark.parametrize("concentration", [[1.0, 1.0, 1.0], [0.3, 0.3, 0.3], [2.0, 1.0, 0.5]])
def test_dirichlet_sums_to_one_and_has_beta_margins(concentration: list[float]) -> None:
    draw = ROWS.dirichlet(torch.tensor(concentration).expand(N, 3))
    torch.testing.assert_close(draw.sum(-1), torch.ones(N))
    for i, a in enumerate(concentration):
        assert (
            stats.kstest(numbers(draw[:, i]), stats.beta(a, sum(concentration) - a).cdf).pvalue > P
        )


def test_categorical_follows_its_weights_and_never_picks_weight_0() -> None:
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0, 4.0, 0.0])
    counts = np.bincount(ROWS.categorical(weights.expand(N, 6)).numpy(), minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    assert stats.chisquare(counts[[1, 3, 4]], N * np.array([3, 1, 4]) / 8).pvalue > P


def test_categorical_is_the_inverse_cdf_of_the_uniform() -> None:
    weights = torch.tensor([0.2, 0.5, 0.3])
    u = ROWS.uniform()
    expected = (u > 0.2).long() + (u > 0.7).long()
    assert torch.equal(ROWS.categorical(weights.expand(N, 3)), expected)


def test_integers_are_equally_likely() -> None:
    draw = ROWS.integers(7, 3)
    assert draw.dtype == torch.int64
    assert stats.chisquare(np.bincount(draw.flatten().numpy(), minlength=7)).pvalue > P


# --- a row alone is the row in a batch --------------------------------------------------------------------------------

SHAPES = torch.tensor([0.05, 0.4, 0.99, 1.0, 1.01, 7.0, 300.0])
"""Gamma shapes on both sides of 1, where the method changes."""


def _mixed(ids: Tensor) -> Tensor:
    """Concentrations that are all ones in every third row."""
    row = SHAPES[(ids[:, None] + torch.arange(4)) % len(SHAPES)]
    return torch.where((ids % 3 == 0)[:, None], torch.ones_like(row), row)


DRAWS = {
    "bits": lambda rows, ids: rows.bits(3),
    "uniform": lambda rows, ids: rows.uniform(),
    "uniform64": lambda rows, ids: rows.uniform(5, dtype=torch.float64),
    "normal": lambda rows, ids: rows.normal(5),
    "normal64": lambda rows, ids: rows.normal(2, 3, dtype=torch.float64),
    "exponential": lambda rows, ids: rows.exponential(5),
    "integers": lambda rows, ids: rows.integers(9, 2),
    "categorical": lambda rows, ids: rows.categorical(_mixed(ids)),
    "gamma": lambda rows, ids: rows.gamma(SHAPES[ids % len(SHAPES)]),
    "gamma64": lambda rows, ids: rows.gamma(_mixed(ids).double()),
    "beta": lambda rows, ids: rows.beta(_mixed(ids), _mixed(ids + 1)),
    "dirichlet": lambda rows, ids: rows.dirichlet(_mixed(ids)),
    "dirichlet of ones": lambda rows, ids: rows.dirichlet(torch.ones(len(rows), 10, 17)),
    "named": lambda rows, ids: rows.at("x", ids % 5, 2).uniform(),
    "forked": lambda rows, ids: rows.at(ids).fork(3).uniform().view(-1, 3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_row_alone_draws_what_it_draws_in_a_batch(name: str) -> None:
    draw, ids = DRAWS[name], torch.arange(200)
    whole = draw(Rows.of(3, ids), ids)
    subsets = [ids[i : i + 1] for i in range(0, 200, 9)] + [
        ids[5:22],
        ids[64:],
        ids.flip(0),
        ids[::7],
    ]
    for subset in subsets:
        assert torch.equal(draw(Rows.of(3, ids)[subset], subset), whole[subset])
        assert torch.equal(draw(Rows.of(3, subset), subset), whole[subset])


# --- names ------------------------------------------------------------------------------------------------------------

names = st.one_of(st.integers(0, 2**40), st.text(max_size=5))


@given(st.lists(names, min_size=1, max_size=5), st.integers(0, 5))
def test_names_may_be_given_one_by_one_or_at_once(path: list, cut: int) -> None:
    rows = ROWS[:4]
    assert torch.equal(rows.at(*path).bits(), rows.at(*path[:cut]).at(*path[cut:]).bits())


@given(
    st.lists(names, max_size=2),
    st.lists(st.integers(0, 2**62), min_size=4, max_size=4),
    st.lists(names, max_size=2),
)
def test_a_tensor_names_each_row_as_its_integer_does(
    before: list, per_row: list, after: list
) -> None:
    rows = ROWS[:4]
    by_tensor = rows.at(*before, torch.tensor(per_row), *after).bits(2)
    for row, name in enumerate(per_row):
        assert torch.equal(by_tensor[row], rows.at(*before, name, *after).bits(2)[row])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8])
def test_a_name_is_its_value_whatever_its_integer_dtype(dtype: torch.dtype) -> None:
    name = torch.arange(4)
    assert torch.equal(ROWS[:4].at(name.to(dtype)).bits(), ROWS[:4].at(name).bits())


def test_an_integer_is_not_its_digits() -> None:
    assert not torch.equal(ROWS.at(1).bits(), ROWS.at("1").bits())
    assert not torch.equal(Rows.of(1, IDS).bits(), Rows.of("1", IDS).bits())


def test_forks_of_a_row_differ_from_it_and_from_one_another_and_pair_between_batches() -> None:
    rows = ROWS[:50].at("somewhere", 3)
    forked = rows.fork(3)
    words = forked.bits().view(50, 3)
    assert len(forked) == 150
    assert len({*words.flatten().tolist(), *rows.bits().tolist()}) == 200
    assert torch.equal(rows[10:20].fork(3).bits().view(10, 3), words[10:20])
    assert torch.equal(rows.fork(5).bits().view(50, 5)[:, :3], words)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        [0.0, 0.0, 0.0],
        [0.5, -0.1, 0.6],
        [0.2, float("nan"), 0.8],
        [1.0, float("inf"), 0.0],
        [3e38, 3e38, 0.0],
    ],
)
@pytest.mark.parametrize("first", [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
def test_weights_that_nothing_can_be_drawn_by_are_refused(
    row: list[float], first: list[float]
) -> None:
    rows = Rows.of(0, torch.arange(2))
    kind = DivergenceError if row[1] != row[1] else ContractError
    with pytest.raises(kind, match=r"row 1 has \[.*logits.softmax\(-1\)"):
        rows.categorical(torch.tensor([first, row]))
    assert int(rows.categorical(torch.tensor([first, first]))[0]) in (0, 1, 2)
    assert rows[:0].categorical(torch.empty(0, 3)).shape == (0,)


@pytest.mark.parametrize("bad", [0.0, -0.5, float("nan"), float("inf")])
def test_parameters_that_no_gamma_has_are_refused(bad: float) -> None:
    rows, shape = Rows.of(0, torch.arange(2)), torch.tensor([[1.0, 2.0], [2.0, bad]])
    for draw in (rows.gamma, rows.dirichlet, lambda shape: rows.beta(shape, shape.flip(0))):
        with pytest.raises(
            DivergenceError if bad != bad else ContractError, match=r"row [01] has .*computed from"
        ):
            draw(shape)


def test_what_gamma_refuses_is_told_as_it_was_given() -> None:
    rows = Rows.of(0, torch.arange(1))
    with pytest.raises(ContractError, match=r"row 0 has \[0.5, inf\]"):
        rows.gamma(torch.tensor([[0.5, torch.inf]]))
    with pytest.raises(ContractError, match="row 0 has"):
        Rows.of(0, torch.arange(2)).gamma(torch.zeros(2, 3, 4).permute(0, 2, 1))
    with pytest.raises(ContractError, match="row 1 has inf"):
        Rows.of(0, torch.arange(2)).gamma(torch.tensor([1.0, torch.inf]))
    with pytest.raises(ContractError, match="found n = 0"):
        rows.categorical(torch.empty(1, 0))


@pytest.mark.parametrize("n", [0, -3, 2**23 + 1])
def test_integers_are_below_a_number_that_has_cells_enough(n: int) -> None:
    with pytest.raises(ContractError, match=rf"from 1 to 2\^23 = 8,388,608; found n={n}"):
        ROWS.integers(n)


def test_the_most_integers_stay_below_their_bound() -> None:
    class Last(Rows):
        def bits(self, *shape: int) -> Tensor:
            return torch.full((len(self), *shape), -1)

    for n in (1, 2**22 + 1, 2**23 - 1, 2**23):
        assert int(Last(torch.zeros(1, dtype=torch.int64)).integers(n)) == n - 1


def test_rows_and_seeds_that_would_name_the_stream_of_others_are_refused() -> None:
    for seed in (-1, 2**64, -(2**64)):
        with pytest.raises(ContractError, match=r"integer from 0 to 2\^64 - 1, found"):
            Rows.of(seed, IDS[:2])
    with pytest.raises(ContractError, match=r"found -1\. Count rows from 0"):
        Rows.of(0, torch.tensor([3, -1]))
    assert len(Rows.of(2**64 - 1, IDS[:0])) == 0


# --- for ever ---------------------------------------------------------------------------------------------------------


def test_golden_words() -> None:
    """Noise never moves silently: these words may change only together with every result (``SUITE_VERSION``)."""
    ids = torch.tensor([0, 1, 2**40])
    found = {
        "of": Rows.of(0, ids).bits().tolist(),
        "named seed": Rows.of("tasks/bandit/v1/id", ids).bits().tolist(),
        "at": Rows.of(7, ids).at("env", 3, "step", torch.tensor([0, 1, 2])).bits().tolist(),
        "lanes": Rows.of(7, ids[:1]).bits(3)[0].tolist(),
        "fork": Rows.of(7, ids[:1]).fork(3).bits().tolist(),
    }
    assert found == GOLDEN


GOLDEN = {
    "of": [7331251815216161182, -4686233730886365151, 3494017549741526919],
    "named seed": [-8576353171250464263, -4930124357061467306, 6262858584848682950],
    "at": [3355925609001560088, -1462044988302214565, 3763534180034520741],
    "lanes": [-5630196677576239537, 1407471520832150970, -959511850511421405],
    "fork": [8226508655118210296, -7967370694398597863, -1822771665691085009],
}


def test_golden_draws() -> None:
    """The laws on top of the words, to the rounding of a maths library."""
    rows = Rows.of(7, torch.arange(2))
    two = torch.full((2,), 2.0, dtype=torch.float64)
    found = {
        "uniform": rows.uniform(dtype=torch.float64).tolist(),
        "normal": rows.normal(dtype=torch.float64).tolist(),
        "gamma": rows.gamma(two).tolist(),
        "small gamma": rows.gamma(two / 8).tolist(),
        "beta": rows.beta(two, two).tolist(),
    }
    assert found == {
        name: pytest.approx(values, rel=1e-12) for name, values in GOLDEN_DRAWS.items()
    }


GOLDEN_DRAWS = {
    "uniform": [0.04400713511707732, 0.7782552491282625],
    "normal": [-1.705966751162587, 0.7663139803834171],
    "gamma": [5.494733072300426, 0.8700924821236374],
    "small gamma": [2.3218843178792303, 0.16540800898654226],
    "beta": [0.19710401950482564, 0.8966908158638828],
}


def test_no_global_generator_moves_and_none_matters() -> None:
    def all_draws() -> list[Tensor]:
        ids = torch.arange(20)
        return [draw(Rows.of(3, ids), ids) for draw in DRAWS.values()]

    before = global_noise()
    first = all_draws()
    assert global_noise() == before
    with other_python_noise():
        assert all(torch.equal(a, b) for a, b in zip(first, all_draws(), strict=True))


@pytest.mark.gpu
def test_a_gpu_draws_the_same_words() -> None:
    ids = torch.arange(1000)
    here, there = Rows.of(7, ids).at("x", ids % 3), Rows.of(7, ids.cuda()).at("x", ids.cuda() % 3)
    assert torch.equal(there.bits(4).cpu(), here.bits(4))
    assert torch.equal(there.uniform(4).cpu(), here.uniform(4))
