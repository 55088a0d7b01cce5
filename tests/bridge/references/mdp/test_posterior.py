"""Planners of the random MDPs: what they must be in the limit and in special cases, then what they earn."""

from typing import Any

import pytest
import torch
from scipy import stats

from bridge import memory as tree
from bridge.errors import ContractError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan as Evaluation
from bridge.noise import TrialNoise
from bridge.play import clues, play_episode
from bridge.protocol import Agent, Clues, Step, Trial
from bridge.references.mdp.belief import Counts
from bridge.references.mdp.optimism import Beb, Ucrl2
from bridge.references.mdp.posterior import (
    MdpEpsilonGreedy,
    MdpGreedy,
    MdpOracle,
    Opsrl,
    Plan,
    Psrl,
)
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.tabular_mdp import TabularMdp

FAMILY = TabularMdp()
LEARNING: dict[str, Any] = {
    cls.card.method: cls for cls in (MdpGreedy, MdpEpsilonGreedy, Psrl, Opsrl, Beb, Ucrl2)
}
ALL = LEARNING | {"oracle": MdpOracle}


def play(
    agent: Agent, ids: torch.Tensor, episodes: int = 2, split: str = "id"
) -> tuple[Any, torch.Tensor]:
    """The memory after some episodes, and every reward, ``[B, steps]``."""
    tasks, trial, noise = FAMILY.sample(split, ids), FAMILY.trial(split), TrialNoise.of(0, ids)
    memory = agent.start(clues(agent, FAMILY, split, tasks), trial, noise.agent.at("start"))
    rewards: list[torch.Tensor] = []
    for episode in range(episodes):
        memory, _ = play_episode(
            agent,
            FAMILY,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=trial.horizon,
            visit=lambda _t, step, _decision: rewards.append(step.reward),
        )
    return memory, torch.stack(rewards, -1)


def score(agent: Agent, trials: int) -> tuple[float, float]:
    """Mean trial return and its standard error."""
    n, total, square = evaluate(agent, FAMILY, Evaluation(trials=trials)).pooled("trial_return")
    return total / n, ((square / n - (total / n) ** 2) / n) ** 0.5


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_row_alone_plays_as_in_a_batch_bitwise(name: str) -> None:
    ids = torch.arange(5)
    memory, together = play(ALL[name](FAMILY), ids)

    alone_memory, alone = play(ALL[name](FAMILY), ids[3:4])

    assert torch.equal(alone[0], together[3])
    for whole, single in zip(tree.leaves(memory), tree.leaves(alone_memory), strict=True):
        assert torch.equal(whole[3], single[0])


@pytest.mark.parametrize("name", ALL)
def test_memory_leads_with_the_trial_axis_and_act_only_reads(name: str) -> None:
    agent = ALL[name](FAMILY)
    memory, _ = play(agent, torch.arange(4), 1)
    rng = Rows.of(1, torch.arange(4))
    memory = agent.begin(memory, rng.at("begin"), episode=1)
    before = tree.fork(memory)

    decision = agent.act(memory, torch.arange(4), rng, explore=True)

    assert decision.action.dtype == torch.int64
    for leaf, old in zip(tree.leaves(memory), tree.leaves(before), strict=True):
        assert len(leaf) == 4
        assert torch.equal(leaf, old)


@pytest.mark.parametrize("name", ALL)
def test_dead_rows_change_nothing_and_live_rows_do_not_notice(name: str) -> None:
    agent = ALL[name](FAMILY)
    memory, _ = play(agent, torch.arange(2), 1)
    memory = agent.begin(memory, Rows.of(1, torch.arange(2)), episode=1)
    before = tree.fork(memory)
    state, never = torch.tensor([4, 4]), torch.zeros(2, dtype=torch.bool)
    step = Step(state, state, torch.ones(2), state, never, never)

    plain = agent.observe(tree.fork(memory), step)
    masked = agent.observe(memory, step._replace(live=torch.tensor([True, False])))

    for leaf, old, live in zip(
        tree.leaves(masked), tree.leaves(before), tree.leaves(plain), strict=True
    ):
        assert torch.equal(leaf[0], live[0])
        assert torch.equal(leaf[1], old[1])


@pytest.mark.parametrize("name", LEARNING)
def test_every_step_is_counted_the_last_of_an_episode_too(name: str) -> None:
    memory, rewards = play(LEARNING[name](FAMILY), torch.arange(4), 3)

    assert memory.counts.visits.sum((1, 2)).tolist() == [30.0] * 4
    torch.testing.assert_close(memory.counts.reward_sum.sum((1, 2)), rewards.sum(-1))


@pytest.mark.parametrize("name", ALL)
def test_plans_are_as_long_as_the_trial(name: str) -> None:
    memory, rewards = play(ALL[name](FAMILY), torch.arange(2), 1, split="shift/horizon/4")
    plan = memory if name == "oracle" else memory.plan

    assert plan.q.shape == (2, 40, 10, 5)
    assert plan.t.tolist() == [40, 40]
    assert rewards.shape == (2, 40)


@pytest.mark.parametrize("name", ALL)
def test_cards_say_who_they_are(name: str) -> None:
    card = ALL[name](FAMILY, "shift/reward_noise/2").card

    assert card.method == name
    assert card.reference
    assert card.decode_rule == "rule"
    assert card.clue == ("task" if name == "oracle" else "nothing")
    assert card.exact_reference == ("exact" if name == "oracle" else "heuristic")
    assert card.supervision == ("none" if name == "ucrl2" else "prior")


def test_refusals_name_what_was_found() -> None:
    with pytest.raises(UserError, match=r"epsilon_greedy needs epsilon from 0 to 1; found 1\.5"):
        MdpEpsilonGreedy(FAMILY, epsilon=1.5)
    with pytest.raises(UserError, match="opsrl needs samples 1 or more; found 0"):
        Opsrl(FAMILY, samples=0)
    with pytest.raises(ContractError, match="found no task among its clues"):
        MdpOracle(FAMILY).start(Clues(), Trial(1, 10), Rows.of(0, torch.arange(1)))


# --- limits and special cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNING)
def test_with_endless_experience_everyone_plans_like_the_oracle(name: str) -> None:
    ids, much = torch.arange(3), 1e7
    tasks, trial, rng = FAMILY.sample("id", ids), FAMILY.trial("id"), Rows.of(0, ids)
    oracle = MdpOracle(FAMILY).start(Clues(task=tasks), trial, rng)
    agent = LEARNING[name](FAMILY)
    memory = agent.start(Clues(), trial, rng)
    counts = Counts(much * tasks.params["transition"], much * tasks.params["reward_mean"])

    memory = agent.begin(memory._replace(counts=counts), rng, episode=0)

    torch.testing.assert_close(memory.plan.q, oracle.q, atol=0.1, rtol=0)


def test_psrl_is_opsrl_with_one_sample_and_more_samples_are_more_optimistic() -> None:
    ids = torch.arange(8)
    one, _ = play(Opsrl(FAMILY, samples=1), ids, 1)
    psrl, _ = play(Psrl(FAMILY), ids, 1)
    four, _ = play(Opsrl(FAMILY, samples=4), ids, 1)

    assert torch.equal(one.plan.q, psrl.plan.q)
    assert bool((four.plan.q >= psrl.plan.q).all())
    assert float((four.plan.q > psrl.plan.q).float().mean()) > 0.5


def test_without_epsilon_or_exploration_epsilon_greedy_is_greedy() -> None:
    ids = torch.arange(64)
    greedy, reckless = MdpGreedy(FAMILY), MdpEpsilonGreedy(FAMILY, epsilon=1.0)
    memory, played = play(greedy, ids)
    _, careful = play(MdpEpsilonGreedy(FAMILY, epsilon=0.0), ids)
    memory = greedy.begin(memory, Rows.of(1, ids), episode=2)
    obs, rng = torch.zeros(64, dtype=torch.int64), Rows.of(2, ids)

    assert torch.equal(played, careful)
    frozen = [agent.act(memory, obs, rng, explore=False).action for agent in (greedy, reckless)]
    assert torch.equal(*frozen)
    assert not torch.equal(reckless.act(memory, obs, rng, explore=True).action, frozen[0])


def test_a_plan_is_followed_at_the_rows_own_time_and_state() -> None:
    """In a plan whose best action is (2 t + s) mod 5."""
    best = (2 * torch.arange(10)[:, None] + torch.arange(10)) % 5
    q = torch.nn.functional.one_hot(best, 5).float().expand(4, 10, 10, 5)
    t, s = torch.tensor([0, 3, 3, 9]), torch.tensor([7, 7, 2, 0])

    action = Plan(q, t).decide(s, Rows.of(0, torch.arange(4))).action

    assert action.tolist() == [2, 3, 3, 3]


def test_greedy_breaks_the_ties_of_an_unknown_mdp_evenly() -> None:
    ids = torch.arange(5000)
    agent = MdpGreedy(FAMILY)
    memory = agent.begin(
        agent.start(Clues(), Trial(1, 1), Rows.of(0, ids)), Rows.of(0, ids), episode=0
    )

    first = agent.act(memory, torch.zeros_like(ids), Rows.of(0, ids), explore=True).action

    assert stats.chisquare(torch.bincount(first, minlength=5)).pvalue > 1e-3


# --- what they earn ---------------------------------------------------------------------------------------------------


def test_the_oracle_earns_the_optimal_return() -> None:
    """Its regret is 0 task by task; the mean optimum is 21.830 (.005) an episode over 200,000 tasks drawn by numpy."""
    result = evaluate(MdpOracle(FAMILY), FAMILY, Evaluation(trials=4000))
    n, total, square = result.pooled("trial_return")
    regret_n, regret, regret_square = result.pooled("regret")

    assert abs(total / n - 218.3) < 3 * ((square / n - (total / n) ** 2) / n) ** 0.5
    assert (
        abs(regret / regret_n)
        < 3 * ((regret_square / regret_n - (regret / regret_n) ** 2) / regret_n) ** 0.5
    )


@pytest.mark.parametrize(
    "split", ["shift/reward_sign/2", "shift/reward_scale/4", "shift/horizon/1"]
)
def test_the_oracle_knows_the_sign_the_scale_and_the_horizon(split: str) -> None:
    n, regret, square = evaluate(
        MdpOracle(FAMILY), FAMILY, Evaluation(trials=2000, split=split)
    ).pooled("regret")

    assert abs(regret / n) < 3 * ((square / n - (regret / n) ** 2) / n) ** 0.5


def test_knowing_beats_sampling_beats_chance() -> None:
    oracle, psrl, random = (
        score(agent, 1000) for agent in (MdpOracle(FAMILY), Psrl(FAMILY), Random(FAMILY))
    )

    assert oracle[0] - 4 * oracle[1] > psrl[0] + 4 * psrl[1]
    assert psrl[0] - 4 * psrl[1] > random[0] + 4 * random[1]


def test_with_the_prior_of_the_published_baselines_psrl_earns_their_138() -> None:
    """The published row is a mean of 1,000 trials, so its standard error is about 0.85."""
    mean, error = score(Psrl(FAMILY, prior_mean=0.0), 2000)

    assert abs(mean - 138.1) < 3 * (error**2 + 0.85**2) ** 0.5
