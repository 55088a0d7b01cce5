"""Policies that are kept after a common context."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.policies import SIGNS, WIDEST, PolicyDetail, policies, sketched
from bridge.noise import TrialNoise
from bridge.play import clues, play_trial, record_context, seen_by
from bridge.protocol import Step, Trial
from bridge.tasks import family as make_family
from experiments import agents
from experiments.registry import LEARNERS

BANDIT = make_family("bandit:k=3,n=4")
SHOTS = (0, 1, 2, 4)
TRIALS = 12


def learned(method, **settings):
    """An agent with the weights that training begins with, made less uniform."""
    found = LEARNERS[method]
    agent = found.learner(BANDIT, found.config(**settings), seed=0).agent()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return agent


def kept(agent, family=BANDIT, *, signs=(), trials=TRIALS, behaviour="random", track="C", **given):
    shown_by = agents.load(behaviour, family, "id")
    detail = PolicyDetail(signs)
    plan = Plan(trials=trials, track=track)
    found = evaluate(agent, family, plan, behaviour=shown_by, policies=detail, **given)
    return found, detail.rows()


def by_shots(rows, family=BANDIT):
    """``[P, T, H, A]``."""
    return rows["policy"].reshape(len(set(rows["shots"])), TRIALS, -1, family.action.n)


def test_there_is_a_row_for_each_trial_and_number_of_shots():
    found, rows = kept(learned("rl2", hidden=8))
    assert found.points == SHOTS
    assert rows["shots"].tolist() == [shots for shots in SHOTS for _ in range(TRIALS)]
    assert rows["trial"].tolist() == list(range(TRIALS)) * len(SHOTS)
    assert rows["policy"].shape == (len(SHOTS) * TRIALS, 3)
    assert rows["policy"].sum(1) == pytest.approx(1)
    assert rows["state"].shape == (len(SHOTS) * TRIALS, 8)
    regret = rows["regret"].reshape(len(SHOTS), TRIALS).mean(1)
    assert [found.mean("regret", point) for point in range(len(SHOTS))] == pytest.approx(regret)


@pytest.mark.parametrize("signs", [(), SIGNS])
@pytest.mark.parametrize("track", ["C", "F"])
@pytest.mark.parametrize("behaviour", ["random", "bayes"])
def test_keeping_policies_changes_no_score(behaviour, track, signs):
    """Nor the context of a behaviour agent that plans for the length of its trial."""
    agent = learned("rl2", hidden=8)
    found, _ = kept(agent, behaviour=behaviour, track=track, signs=signs)
    plan = Plan(trials=TRIALS, track=track)
    plain = evaluate(agent, BANDIT, plan, behaviour=agents.load(behaviour, BANDIT, "id"))
    for metric, sums in plain.total.items():
        np.testing.assert_array_equal(sums, found.total[metric])


def test_policies_are_those_of_an_agent_that_played_the_context_itself():
    """The second implementation: show the context by hand, then ask."""
    agent = learned("rl2", hidden=8)
    _, rows = kept(agent)
    ids, trial = torch.arange(TRIALS), Trial(4, 1)
    noise, tasks = TrialNoise.of(0, ids), BANDIT.sample("id", ids)
    behaviour = agents.load("random", BANDIT, "id")
    context = record_context(behaviour, BANDIT, "id", tasks, noise.at("context"), trial)
    (further,) = record_context(behaviour, BANDIT, "id", tasks, noise.at("further"), Trial(1, 1))
    memory = agent.start(clues(agent, BANDIT, "id", tasks), Trial(5, 1), noise.agent.at("start"))
    with torch.no_grad():
        for played in play_trial(agent, BANDIT, tasks, memory, noise, trial, context=context):
            memory = played.memory
        obs = further[0].obs
        expected = agent.act(memory, obs, noise.agent, explore=True).logits.softmax(-1)
        state = agent.represent(memory, obs)
    np.testing.assert_allclose(by_shots(rows)[-1, :, 0], expected, atol=1e-6)
    np.testing.assert_allclose(rows["state"][-TRIALS:], state, atol=1e-6)


def test_the_frequencies_of_a_rule_are_its_policy():
    """Random play is uniform within three standard errors of 64 draws a trial, the same after any number of shots; the
    exact learner is certain unless posterior means are tied."""
    _, rows = kept(agents.load("random", BANDIT, "id"))
    assert abs(rows["policy"].mean(0) - 1 / 3).max() < 3 * (2 / 9 / 64 / TRIALS) ** 0.5
    _, rows = kept(agents.load("bayes_train", BANDIT, "id"))
    means = rows["state"]
    lead = np.sort(means, 1)[:, -1] - np.sort(means, 1)[:, -2]
    last = (rows["shots"] == 4) & (lead > 1e-6)  # beyond its four pulls it is greedy
    assert last.sum() > 5
    assert (rows["policy"][last].max(1) == 1).all()
    assert (rows["policy"][last].argmax(1) == means[last].argmax(1)).all()


@pytest.mark.parametrize(
    ("method", "settings", "most"),
    [
        ("pearl", {"hidden": 8}, 1e-5),
        ("maml", {"hidden": 8, "episodes_per_step": 4}, 1e-5),  # full-batch gradient descent
        ("rl2", {"hidden": 8}, None),
    ],
)
@pytest.mark.parametrize("track", ["C", "F"])
def test_order_matters_to_a_recurrence_alone(method, settings, most, track):
    _, rows = kept(learned(method, **settings), track=track, signs=SIGNS)
    away, probabilities = rows["order"].reshape(len(SHOTS), TRIALS), by_shots(rows)
    assert (away[:2] == 0).all()  # nothing, and a single shot, have no order
    if most is None:
        assert away[-1].max() > 1e-3
    else:
        assert away.max() < most
        assert abs(probabilities[-1] - probabilities[0]).max() > 1e-3  # it does learn


def test_the_effect_of_order_is_that_of_a_context_shown_backwards():
    """The second implementation: show the shots, and the shots in reverse order, by hand."""
    agent = learned("rl2", hidden=8)
    _, rows = kept(agent, signs=SIGNS)
    ids, trial = torch.arange(TRIALS), Trial(4, 1)
    noise, tasks = TrialNoise.of(0, ids), BANDIT.sample("id", ids)
    context = record_context(
        agents.load("random", BANDIT, "id"), BANDIT, "id", tasks, noise.at("context"), trial
    )
    shown = []
    with torch.no_grad():
        for episodes in (context, context[::-1]):
            memory = agent.start(
                clues(agent, BANDIT, "id", tasks), Trial(5, 1), noise.agent.at("start")
            )
            for played in play_trial(agent, BANDIT, tasks, memory, noise, trial, context=episodes):
                memory = played.memory
            decision = agent.act(memory, context[0][0].obs, noise.agent, explore=True)
            shown.append(decision.logits.softmax(-1))
    expected = (shown[0] - shown[1]).abs().sum(-1) / 2
    np.testing.assert_allclose(rows["order"][-TRIALS:], expected, atol=1e-6)


def test_shots_that_are_observed_backwards_look_as_they_did():
    """Noise of observations is that of the episode, at whatever place it is shown."""
    family, split = make_family("point_nav"), "shift/obs_noise/4"
    agent = LEARNERS["rl2"].learner(family, LEARNERS["rl2"].config(hidden=8), seed=0).agent()
    ids, trial = torch.arange(6), Trial(3, 4)
    noise, tasks = TrialNoise.of(0, ids), family.sample(split, ids)
    behaviour = agents.load("random", family, split)
    context = record_context(behaviour, family, split, tasks, noise, trial)
    forward = [seen_by(agent, family, tasks, context, noise, episode) for episode in range(3)]
    seen = []
    agent.absorb = lambda memory, steps: seen.append(steps) or memory
    memory = agent.start(clues(agent, family, split, tasks), trial, noise.agent.at("start"))
    backward = {"context": context, "order": (2, 1, 0)}
    for _ in play_trial(agent, family, tasks, memory, noise, trial, **backward):
        pass
    for ours, theirs in zip(seen, forward[::-1], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one.obs, other.obs)
            assert torch.equal(one.next_obs, other.next_obs)


def test_the_likelihood_is_that_of_the_actions_that_were_taken():
    """By hand for a policy that reads nothing: the same distribution at each shot."""
    agent = learned("mtrl", hidden=8)
    _, rows = kept(agent, track="F", signs=SIGNS)
    chances = by_shots(rows)[0, :, 0]
    plan = Plan(trials=TRIALS, track="F")
    seen: list[torch.Tensor] = []

    class Watch:
        def on_step(self, _trials, _episode, _t, step):
            seen.append(step.action)

        def rows(self):
            return {}

    evaluate(agent, BANDIT, plan, observers=[Watch()])
    taken = [np.log(chances[np.arange(TRIALS), action.numpy()]) for action in seen]
    found = rows["likelihood"].reshape(len(SHOTS), TRIALS)
    np.testing.assert_allclose(found[-1], sum(taken), atol=1e-5)
    np.testing.assert_allclose(found[1], taken[0], atol=1e-5)
    assert (found[0] == 0).all()


def test_a_misfit_is_kept_of_agents_that_have_one():
    _, rows = kept(learned("pearl", hidden=8), signs=SIGNS)
    misfit = rows["misfit"].reshape(len(SHOTS), TRIALS)
    assert (misfit[:1] == 0).all()
    assert abs(misfit[1]).max() < 1e-5  # one factor agrees with itself
    assert (misfit[-1] > 0).all()
    assert "misfit" not in kept(learned("rl2", hidden=8), signs=SIGNS)[1]


def test_on_track_f_the_agent_explores_itself():
    """The state of the exact learner is the posterior of what it has earned itself."""
    agent, random = (agents.load(name, BANDIT, "id") for name in ("bayes", "random"))
    detail, plan = PolicyDetail(), Plan(trials=TRIALS, track="F")
    found = evaluate(agent, BANDIT, plan, behaviour=random, policies=detail)
    rows = found.policies
    plain = evaluate(agent, BANDIT, plan)
    for metric, sums in plain.total.items():
        np.testing.assert_array_equal(sums, found.total[metric])
    after = rows["shots"] == 1
    best = rows["state"][after].max(1)
    won = rows["earned"][after]
    assert set(won) == {0.0, 1.0}
    np.testing.assert_allclose(best, np.where(won, 2 / 3, 1 / 2), atol=1e-6)
    assert (rows["earned"][rows["shots"] == 0] == 0).all()
    assert (rows["earned"][rows["shots"] == 4] >= rows["earned"][rows["shots"] == 2]).all()


def test_chunks_change_nothing(monkeypatch):
    from bridge.evaluation import evaluator
    from bridge.evaluation.footprint import Fit

    agent = learned("pearl", hidden=8)
    _, whole = kept(agent, track="F", signs=SIGNS)
    assert {*SIGNS} < set(whole)
    monkeypatch.setattr(evaluator, "fit", lambda *_args, **_kwargs: Fit(5, 2))
    _, parts = kept(agent, track="F", signs=SIGNS)
    order = np.lexsort((parts["trial"], parts["shots"]))
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name][order], values, atol=1e-5)


def test_steps_after_the_end_of_an_episode_have_no_policy():
    family = make_family("minigrid:steps=8")
    _, rows = kept(agents.load("random", family, "id"), family, trials=4)
    total = rows["policy"].reshape(len(rows["policy"]), -1, family.action.n).sum(-1)
    assert np.isin(total.round(6), (0, 1)).all()
    assert (total[:, 0] > 0.9).all()
    assert (np.diff(total, axis=1) <= 1e-6).all()


def test_rows_that_have_ended_have_no_policy():
    agent, rng = agents.load("random", BANDIT, "id"), TrialNoise.of(0, torch.arange(2)).agent
    zero, no = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
    step = Step(zero, zero, torch.zeros(2), zero, no, no, live=torch.tensor([True, False]))
    memory = agent.start(clues(agent, BANDIT, "id", BANDIT.sample("id", zero)), Trial(1, 1), rng)
    found = policies(agent, 3, memory, [step], rng, episode=0, horizon=2)
    np.testing.assert_allclose(found.probabilities.sum(-1), [[1, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "track"), [("bandit:k=3,n=4", "O"), ("sparse_point", "C"), ("sparse_point", "F")]
)
def test_policies_are_of_discrete_actions_on_tracks_c_and_f(family, track):
    made = make_family(family)
    agent = agents.load("random", made, "id")
    plan = replace(Plan(trials=2), track=track)
    with pytest.raises(UserError, match="Policies are kept on tracks C and F"):
        evaluate(agent, made, plan, behaviour=agent, policies=PolicyDetail())


def test_a_wide_state_is_projected_and_keeps_its_inner_products():
    generator = torch.Generator().manual_seed(1)
    wide = torch.randn(6, 4000, generator=generator)
    narrow = sketched(wide)
    assert narrow is not None
    assert narrow.shape == (6, WIDEST)
    torch.testing.assert_close(sketched(wide[:2]), narrow[:2], atol=1e-3, rtol=0)
    scale = wide.norm(dim=1)
    error = (narrow @ narrow.T - wide @ wide.T) / (scale[:, None] * scale)
    assert error.abs().max() < 5 / WIDEST**0.5
    few = wide[:, :10]
    assert sketched(few) is few
    assert sketched(None) is None
