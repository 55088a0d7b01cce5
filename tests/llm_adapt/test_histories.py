"""Learning histories: whose they are, what stands beside each step, and that nobody in them knew more than he saw."""

import pytest
import torch

from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.protocol import Card, Trial
from bridge.references.random import Random
from bridge.references.registry import REFERENCES, reference
from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt.histories import Histories, as_trials, default_sources, one_episode, play
from llm_adapt.tokens import Transition


def histories(spec="gridnavi", sources=("psrl",), rows=6, episodes=4):
    family = make_family(spec)
    trial = Trial(episodes, family.trial("train").horizon)
    agents = [reference(name, family, "train") for name in sources]
    return family, play(agents, family, trial, TrialNoise.of("h", torch.arange(rows)), "train")


def test_steps_follow_one_another_and_ends_are_marked():
    _, found = histories()
    steps = found.steps
    assert found.length.tolist() == [60] * 6
    inside = steps.end[:, :-1] == 0
    assert torch.equal(steps.obs[:, 1:][inside], steps.next_obs[:, :-1][inside])
    assert steps.end.nonzero()[:, 1].unique().tolist() == [14, 29, 44, 59]


def test_the_best_action_is_the_oracles():
    """In every state of a bandit it is the arm with the highest mean, whatever the source pulls."""
    family, found = histories("bandit:k=4,n=8", ("random", "thompson"), rows=8, episodes=8)
    tasks = family.sample(
        "train", Rows.of("h", torch.arange(8)).at("task").bits() & ((1 << 62) - 1)
    )
    best = family.mean_rewards(tasks).argmax(1)
    assert torch.equal(found.best, best[:, None].expand(8, 8))
    assert (found.steps.action != found.best).any()


def test_the_best_action_leads_to_the_goal_from_wherever_is_asked_about():
    """It comes one cell nearer to the hidden goal, or stays there, wherever there is time left to reach it."""
    family, found = histories("darkroom:variant=ad", ("random",), rows=5, episodes=2)
    goal = family.sample(
        "train", Rows.of("h", torch.arange(5)).at("task").bits() & ((1 << 62) - 1)
    ).params["goal"]
    moves = torch.tensor(family.grid.moves)
    here = found.asked
    far = (here - goal[:, None]).abs().sum(-1)
    nearer = ((here + moves[found.best]).clamp(0, 8) - goal[:, None]).abs().sum(-1)
    left = 20 - torch.arange(40) % 20
    in_time = far < left
    assert in_time.float().mean() > 0.5
    assert torch.equal(nearer[in_time], (far - 1).clamp(min=0)[in_time])
    too_late = far > left  # nothing can be earned any more: any action is best
    assert (nearer[too_late] >= far[too_late]).float().mean() > 0.4


def test_states_asked_about_are_drawn_evenly_from_those_of_all_trials():
    """Whatever the row, the step, or how often it was come to."""
    _, found = histories("darkroom:variant=ad", ("random", "psrl"), rows=40, episodes=4)
    been = found.steps.obs.flatten(0, 1).unique(dim=0)
    asked, count = found.asked.flatten(0, 1).unique(dim=0, return_counts=True)
    assert torch.equal(asked, been)
    assert len(been) == 81
    expected = 40 * 80 / 81
    assert (
        count - expected
    ).square().sum() / expected < 125  # chi-square with 80 degrees of freedom: 1 in 1,000
    same = (found.asked == found.steps.obs).all(-1).float().mean()
    assert same < 0.03


def test_an_episode_of_a_history_is_all_of_it_and_each_comes_as_often():
    _, found = histories("point_nav:variant=code", ("psrl", "random"), rows=4, episodes=3)
    many = Histories(
        Transition(*(x.repeat(150, *[1] * (x.dim() - 1)) for x in found.steps)),
        *(x.repeat(150, *[1] * (x.dim() - 1)) for x in found[1:]),
    )
    cut, count = one_episode(many, Rows.of("cut", torch.arange(600))), torch.zeros(4, 3)
    for row in range(600):
        n, ends = int(cut.length[row]), [-1, *many.steps.end[row].nonzero().flatten().tolist()]
        assert cut.steps.end[row].nonzero().flatten().tolist() == [n - 1]
        assert not cut.steps.reward[row, n:].any()
        which = [
            k
            for k in range(3)
            if ends[k + 1] - ends[k] == n
            and torch.equal(many.best[row, ends[k] + 1 : ends[k + 1] + 1], cut.best[row, :n])
            and torch.equal(
                many.steps.obs[row, ends[k] + 1 : ends[k + 1] + 1], cut.steps.obs[row, :n]
            )
        ]
        count[row % 4, which[0]] += 1
    assert (
        count.sum(0) - 200
    ).square().sum() / 200 < 13.8  # chi-square with 2 degrees of freedom: 1 in 1,000


def test_rows_take_the_sources_in_turn_and_are_played_as_if_alone():
    _, both = histories("bandit:k=3,n=6", ("random", "ucb1"), rows=6, episodes=6)
    family = make_family("bandit:k=3,n=6")
    for number, source in enumerate(("random", "ucb1")):
        mine = torch.arange(number, 6, 2)
        alone = play(
            [reference(source, family, "train")],
            family,
            Trial(6, 1),
            TrialNoise.of("h", torch.arange(6))[mine],
            "train",
        )
        assert torch.equal(both.steps.action[mine], alone.steps.action)
        assert torch.equal(both.steps.reward[mine], alone.steps.reward)


def test_histories_that_end_early_are_packed_and_padded():
    _, found = histories("point_nav", ("random", "psrl"), rows=4, episodes=2)
    assert found.length.min() < found.length.max() == found.best.shape[1]
    beyond = torch.arange(found.best.shape[1]) >= found.length[:, None]
    assert not found.steps.obs[beyond].any()
    assert not found.asked[beyond].any()
    assert found.asked[~beyond].any(-1).float().mean() > 0.9
    for row, length in enumerate(found.length.tolist()):
        assert found.steps.end[row, length - 1] == 1
        assert found.steps.end[row].sum() == 2


def test_who_is_told_the_task_is_no_source():
    with pytest.raises(UserError, match="no policy can imitate"):
        histories(sources=("oracle",))
    with pytest.raises(UserError, match="does not play"):
        histories(sources=("ucb1",))


def test_nor_is_who_is_told_its_number():
    """Only where tasks are numbered: elsewhere the same agent is told nothing."""
    for spec, told in (("gridnavi", False), ("gridnavi:tasks=4", True)):
        family = make_family(spec)
        agent = Random(family)
        agent.card = Card(method="multi-task", clue="id")
        rows = TrialNoise.of("h", torch.arange(4))
        if told:
            with pytest.raises(UserError, match=r"multi-task is given the task \(id\)"):
                play([agent], family, Trial(1, 15), rows, "train")
        else:
            assert len(play([agent], family, Trial(1, 15), rows, "train").length) == 4


@pytest.mark.parametrize(
    "spec",
    [
        "bandit:k=3,n=6",
        "tabular_mdp:n=2",
        "gridnavi",
        "darkroom:episodes=2",
        "point_nav",
        "sparse_point",
    ],
)
def test_every_family_has_sources_of_its_own(spec):
    family = make_family(spec)
    for method in ("icl_ad", "icl_dpt"):
        found = default_sources(method, family)
        for name in found:
            assert any(isinstance(family, kind) for kind in REFERENCES[name])
        _, made = histories(spec, found, rows=2, episodes=1)
        assert len(made.length) == 2
    assert default_sources("icl_ad", family) != default_sources("icl_dpt", family)


def test_on_a_shift_of_the_senses_the_oracle_answers_for_the_world_and_states_are_as_observed():
    """On exchanged coordinates the answer leads nearer to the goal from the exchanged query state."""
    family = make_family("darkroom:variant=ad")
    trial, split = Trial(1, 20), "shift/obs_permutation/4"
    noise = TrialNoise.of("h", torch.arange(5))
    agents = [reference("random", family, split)]
    found = play(agents, family, trial, noise, split)
    plain = play([reference("random", family, "id")], family, trial, noise, "id")
    assert torch.equal(found.asked, plain.asked.flip(-1))
    assert torch.equal(found.best, plain.best)
    assert torch.equal(found.steps.next_obs, plain.steps.next_obs.flip(-1))
    assert torch.equal(found.steps.reward, plain.steps.reward)


def test_they_become_trials_by_their_ends():
    _, found = histories(rows=2, episodes=3)
    buffer = as_trials(found, Trial(3, 15))
    assert buffer.live.all()
    assert torch.equal(buffer.reward.flatten(1), found.steps.reward)
    assert torch.equal(buffer.action.flatten(1), found.steps.action)
    assert buffer.end[:, :, -1].all()
    assert not buffer.end[:, :, :-1].any()
