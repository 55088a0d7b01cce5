"""What tasks share: which parameters are whose, what an id is, and whose gradients are scaled down."""

import pytest
import torch

from bridge.errors import UserError
from bridge.tasks import family as make_family
from rl_algos import per_task
from rl_algos.policies import MlpPolicy
from rl_algos.task_table import TaskTable, chosen


def table(family="gridnavi:tasks=3", *, shared="all", always=()) -> TaskTable[MlpPolicy]:
    made = make_family(family)
    return TaskTable(
        made,
        made.tasks,
        lambda: MlpPolicy(made.observation, made.action, 8),
        shared,
        ids=("body.0.bias",),
        heads=("head.",),
        always=always,
    )


@pytest.mark.parametrize(
    ("shared", "own"),
    [
        ("all", ["body.0.bias"]),
        ("trunk", ["body.0.bias", "head.weight", "head.bias"]),
        (
            "nothing",
            [
                "body.0.weight",
                "body.0.bias",
                "body.2.weight",
                "body.2.bias",
                "head.weight",
                "head.bias",
            ],
        ),
    ],
)
def test_what_tasks_own(shared, own):
    made = table(shared=shared)
    assert made.names == own
    assert all(len(rows) == 4 for rows in made.tables)


def test_what_is_always_owned():
    assert table(always=("body.2.weight",)).names == ["body.0.bias", "body.2.weight"]


@pytest.mark.parametrize("shared", ["all", "trunk", "nothing"])
def test_tasks_start_out_different(shared):
    made = table(shared=shared)
    obs = torch.zeros(4, 1, 2)
    out = per_task.out(made.net, made.rows(torch.arange(4)), obs)[:, 0]
    assert torch.pdist(out).min() > 1e-5


def test_specialists_have_weights_of_their_own_and_heads_start_equal():
    assert torch.pdist(table(shared="nothing").parameter("body.2.weight").flatten(1)).min() > 0.1
    heads = table(shared="trunk").parameter("head.weight")
    assert (heads == heads[0]).all()


def test_ids_are_hidden_where_noise_is_below_the_share_and_never_from_specialists():
    task, u = torch.tensor([0, 1, 2, 1]), torch.tensor([0.0, 0.2, 0.3, 0.9])
    for shared, share, expected in (
        ("all", 0.0, [0, 1, 2, 1]),
        ("all", 0.25, [3, 3, 2, 1]),
        ("trunk", 1.0, [3, 3, 3, 3]),
        ("nothing", 1.0, [0, 1, 2, 1]),
    ):
        assert table(shared=shared).with_hidden(task, u, share).tolist() == expected
    assert table("gridnavi").with_hidden(task, u, 0.0).tolist() == [0, 0, 0, 0]


def test_rows_are_the_tasks_own():
    made = table(shared="trunk")
    rows = made.rows(torch.tensor([2, 0]))
    assert torch.equal(rows["head.weight"], made.parameter("head.weight")[[2, 0]])


def test_copies_are_what_each_row_plays_with_and_what_it_can_learn():
    made = table(shared="trunk")
    made.net.body[2].bias.requires_grad_(False)
    task = torch.tensor([2, 0, 2])
    copies = made.copies(task)
    assert copies.keys() == {name for name, _ in made.net.named_parameters()} - {"body.2.bias"}
    for name, copy in copies.items():
        parameter = made.parameter(name)
        rows = parameter[task] if name in made.names else torch.stack([parameter] * 3)
        assert torch.equal(copy, rows)
    copy = copies["head.weight"]
    (gradient,) = torch.autograd.grad((copy.sum((1, 2)) * torch.tensor([1.0, 2, 3])).sum(), copy)
    assert gradient[:, 0, 0].tolist() == [1, 2, 3]
    assert made.parameter("head.weight").grad is None


def test_parameters_by_name_are_all_that_play_once_each():
    made = table(shared="trunk")
    assert made.parameter("body.2.weight") is made.net.body[2].weight
    assert made.parameter("head.bias") is made.tables[made.names.index("head.bias")]
    assert [p.shape for p in made.named("head.")] == [(4, 5, 8), (4, 5)]
    assert len(made.named()) == 6
    assert sum(p.numel() for p in made.named()) == 2 * 8 + 4 * 8 + 8 * 8 + 8 + 4 * (5 * 8 + 5)


def test_what_is_not_learned_stays_so():
    family = make_family("gridnavi:tasks=2")

    def make() -> MlpPolicy:
        policy = MlpPolicy(family.observation, family.action, 8)
        policy.head.requires_grad_(False)
        return policy

    made = TaskTable(family, 2, make, "trunk", ids=("body.0.bias",), heads=("head.",))
    assert [p.requires_grad for p in made.tables] == [True, False, False]


def test_a_specialists_gradient_is_scaled_down_to_its_own_norm():
    made = table(shared="nothing")
    for rows in made.tables:
        rows.grad = torch.zeros_like(rows)
    made.tables[0].grad[0], made.tables[1].grad[0], made.tables[1].grad[1] = 3.0, 4.0, 1e-3
    made.clip_gradients("", 0.5)
    norms = torch.stack([t.grad.square().flatten(1).sum(1) for t in made.tables]).sum(0).sqrt()
    torch.testing.assert_close(
        norms[:2], torch.tensor([0.5, 1e-3 * made.tables[1][0].numel() ** 0.5])
    )


def test_a_shared_gradient_is_scaled_down_as_one_and_only_what_was_named():
    made = table()
    for parameter in made.named():
        parameter.grad = torch.ones_like(parameter)
    made.clip_gradients("body.", 0.5)
    norm = torch.stack([p.grad.square().sum() for p in made.named("body.")]).sum().sqrt()
    torch.testing.assert_close(norm.item(), 0.5, atol=1e-5, rtol=0)
    assert all((p.grad == 1).all() for p in made.named("head."))


def test_specialists_need_known_tasks():
    with pytest.raises(UserError, match="--family gridnavi:tasks=N"):
        table("gridnavi", shared="nothing")
    with pytest.raises(UserError, match="--family gridnavi:train=inner,tasks=N"):
        table("gridnavi:train=inner", shared="nothing")


@pytest.mark.parametrize(("only", "tasks"), [("", [0, 1, 2, 3]), ("2", [2]), ("3+0", [3, 0])])
def test_the_chosen_tasks_are_those_named_in_their_order(only, tasks):
    assert chosen(only, 4).tolist() == tasks


@pytest.mark.parametrize("only", ["4", "0+0", "1+", "-1", "a", "1,2", "+", "99999999999999999999"])
def test_tasks_that_are_not_known_are_refused_by_their_numbers(only):
    with pytest.raises(UserError, match=r"different numbers of known tasks, 0 to 3, joined by \+"):
        chosen(only, 4)


def test_without_known_tasks_none_can_be_chosen():
    assert chosen("", 0).tolist() == []
    with pytest.raises(UserError, match="--family F:tasks=N"):
        chosen("0", 0)
