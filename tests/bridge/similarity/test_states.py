import numpy as np
import pytest

from bridge.similarity.states import Seen, cka, predicted_elsewhere, simulated

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)) * np.arange(1, 7)


def rotated(x):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(x.shape[1], x.shape[1])))
    return 3 * x @ turn + 5


def test_a_rotated_and_scaled_state_is_the_same_state():
    assert cka(Seen.of(X), Seen.of(rotated(X))) == pytest.approx(1)
    assert simulated(Seen.of(X), Seen.of(rotated(X))) > 0.99


def test_shuffled_pairs_are_unrelated():
    """The floor: 0 within three standard errors over shuffles."""
    found = [cka(Seen.of(X), Seen.of(rotated(X)[RNG.permutation(len(X))])) for _ in range(40)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 40**0.5
    shuffled = Seen.of(rotated(X)[RNG.permutation(len(X))])
    assert simulated(Seen.of(X), shuffled) < 0


def test_many_features_of_noise_do_not_look_alike():
    """Without debiasing, states of more features than histories have an alignment near 1."""
    one, other = RNG.normal(size=(2, 30, 300))
    assert abs(cka(Seen.of(one), Seen.of(other))) < 0.2
    one, other = one - one.mean(0), other - other.mean(0)
    biased = np.linalg.norm(other.T @ one) ** 2
    biased /= np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    assert biased > 0.8


def test_cka_is_that_of_the_formula_of_song():
    """Their estimator, written as sums over distinct histories."""
    x, y = RNG.normal(size=(2, 7, 3))
    x, y = x - x.mean(0), y - y.mean(0)

    def hsic(a, b):
        n, k, m = len(a), a @ a.T, b @ b.T
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        triples = [(i, j, q) for i, j in pairs for q in range(n) if q not in (i, j)]
        fours = [(i, j, q, r) for i, j, q in triples for r in range(n) if r not in (i, j, q)]
        first = np.mean([k[i, j] * m[i, j] for i, j in pairs])
        second = np.mean([k[i, j] * m[i, q] for i, j, q in triples])
        third = np.mean([k[i, j] * m[q, r] for i, j, q, r in fours])
        return first - 2 * second + third

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert cka(Seen.of(x), Seen.of(y)) == pytest.approx(expected)


def test_simulation_has_a_direction():
    """A state that has lost a part of another one cannot simulate it; the other one can."""
    whole, part = Seen.of(X), Seen.of(X[:, :2])
    assert simulated(whole, part) > 0.99
    assert simulated(part, whole) < 0.2


def test_a_state_that_never_changes_has_no_similarity():
    still = Seen.of(np.ones((20, 3)))
    assert np.isnan(cka(still, Seen.of(X[:20])))
    assert np.isnan(simulated(Seen.of(X[:20]), still))


def test_too_few_histories_are_refused():
    with pytest.raises(ValueError, match="4 histories or more, found 3"):
        Seen.of(X[:3])


def test_a_prediction_does_not_see_its_own_history():
    """Pure noise is predicted no better than by its mean, however many features there are."""
    noise = RNG.normal(size=(200, 60))
    goal = RNG.normal(size=(200, 1))
    wrong = np.square(goal - predicted_elsewhere(noise, goal)).mean()
    assert wrong > goal.var()
    assert np.square(X[:, :1] - predicted_elsewhere(X, X[:, :1])).mean() < 0.05 * X[:, 0].var()
