"""What keeps earlier tasks: closed forms of each keeper's loss."""

import pytest
import torch

from bridge.tasks import family as make_family
from rl_algos import per_task
from rl_algos.concerns.forgetting import Distil, Ewc, Keeper, ReplayTasks, fisher, keeper
from rl_algos.mtrl_sequence import Config, MtrlSequenceLearner

FAMILY = make_family("contextual_bandit:tasks=3,own=1,contexts=3")


@pytest.fixture
def made() -> MtrlSequenceLearner:
    config = Config(hidden=5, tasks_per_update=2, episodes_per_task=3, hidden_ids=0.0)
    learner = MtrlSequenceLearner(FAMILY, config, seed=0)
    torch.manual_seed(0)
    for parameter in learner.table.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return learner


def test_the_information_of_a_head_s_biases_is_that_of_a_categorical_distribution(made) -> None:
    task, episodes = made._play()
    found = fisher(made.table, task[:1], episodes)

    out = per_task.out(made.table.net, made.table.rows(task), episodes.obs)
    error = torch.nn.functional.one_hot(episodes.action, 4) - out.softmax(-1)
    expected = error.square().flatten(0, 2).mean(0)  # 60 steps, all of which are used
    torch.testing.assert_close(found["head.bias"], expected.detach())


def test_the_information_has_no_part_of_other_tasks(made) -> None:
    kept = Ewc()
    made.task = 1
    kept.end(made.table, *made._play())

    (own,) = (kept.precision[name] for name in made.table.names)
    assert (own[1] > 0).any()
    assert (own[[0, 2, 3]] == 0).all()


def test_consolidation_pulls_towards_the_weights_of_each_task_by_its_information(made) -> None:
    kept, ends = Ewc(), []
    for task in (0, 1):
        made.task = task
        batch = made._play()
        kept.end(made.table, *batch)
        ends.append(
            (
                fisher(made.table, batch[0][:1], batch[1])["head.bias"],
                made.table.net.head.bias.clone(),
            )
        )
        made.table.net.head.bias.data += 0.5

    kept.loss(made.table).backward()
    now = made.table.net.head.bias
    expected = sum(information * (now - end) for information, end in ends)
    torch.testing.assert_close(now.grad, expected.detach())


def test_replay_is_the_policy_gradient_on_what_was_kept(made) -> None:
    kept = ReplayTasks(clip=0.2)
    task, episodes = made._play()
    kept.end(made.table, task, episodes)
    kept.loss(made.table).backward()
    found = made.table.net.head.bias.grad.clone()

    out = per_task.out(made.table.net, made.table.rows(task), episodes.obs)
    error = torch.nn.functional.one_hot(episodes.action, 4) - out.softmax(-1)
    gradient = -(error * episodes.advantage[..., None]).flatten(0, 2).mean(0)
    torch.testing.assert_close(found, gradient.detach())


def test_distillation_is_the_likelihood_of_what_was_done(made) -> None:
    kept = Distil()
    task, episodes = made._play()
    kept.end(made.table, task, episodes)

    out = per_task.out(made.table.net, made.table.rows(task), episodes.obs)
    chosen = out.log_softmax(-1).gather(-1, episodes.action[..., None])
    torch.testing.assert_close(kept.loss(made.table), -chosen.mean())


@pytest.mark.parametrize("name", ["replay", "distil"])
def test_each_task_that_has_ended_counts_as_much(made, name) -> None:
    batches = []
    for task in (0, 1):
        made.task = task
        batches.append(made._play())
    both, single = keeper(name, clip=0.2), [keeper(name, clip=0.2) for _ in batches]
    for alone, batch in zip(single, batches, strict=True):
        both.end(made.table, *batch)
        alone.end(made.table, *batch)
    made.table.net.head.bias.data += torch.tensor([0.5, 0.0, -0.5, 0.0])

    losses = [alone.loss(made.table).detach().item() for alone in single]
    assert both.loss(made.table).detach().item() == pytest.approx(sum(losses), rel=1e-5)


def test_nothing_is_kept_without_a_keeper(made) -> None:
    kept = keeper("nothing", clip=0.2)
    kept.end(made.table, *made._play())

    assert type(kept) is Keeper
    assert kept.loss(made.table) is None


@pytest.mark.parametrize("name", ["ewc", "replay", "distil"])
def test_what_is_kept_survives_a_restart(made, name) -> None:
    kept, again = keeper(name, clip=0.2), keeper(name, clip=0.2)
    kept.end(made.table, *made._play())
    again.load_state_dict(kept.state_dict())

    assert torch.equal(kept.loss(made.table), again.loss(made.table))
