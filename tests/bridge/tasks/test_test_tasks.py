"""``tests=N``: the first tasks of the test splits, which are played again and again."""

import pytest
import torch

from bridge.errors import UserError
from bridge.references.registry import reference
from bridge.tasks import family as make_family


@pytest.mark.parametrize(
    "spec", ["bandit:k=3,n=5", "point_nav:episodes=2", "cheetah_vel", "gridnavi"]
)
def test_the_first_tasks_of_id_and_of_each_shift_repeat(spec: str) -> None:
    whole = make_family(spec)
    few = make_family(f"{spec}{',' if ':' in spec else ':'}tests=3")
    index = torch.arange(7)
    for split in ("id", "shift/reward_sign/2", "shift/horizon/2"):
        assert few.support(split) == 3
        expected, found = whole.sample(split, index % 3), few.sample(split, index)
        assert torch.equal(found.index, index % 3)
        for name, values in expected.params.items():
            assert torch.equal(found.params[name], values)


def test_training_and_validation_tasks_stay_as_they_are() -> None:
    whole, few = make_family("cheetah_vel:tasks=5"), make_family("cheetah_vel:tasks=5,tests=3")
    for split in ("train", "id_val"):
        assert few.support(split) == whole.support(split)
        assert torch.equal(
            few.sample(split, torch.arange(9)).params["speed"],
            whole.sample(split, torch.arange(9)).params["speed"],
        )


def test_runs_that_were_trained_without_them_are_of_the_same_family() -> None:
    assert make_family("cheetah_vel:tests=3").hash == make_family("cheetah_vel").hash
    assert make_family("cheetah_vel:tests=3").id == "cheetah_vel:tests=3"


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"has 2 test tasks; found tests=5\. Lower it"):
        make_family("cheetah_dir:tests=5")


def test_bayes_that_knows_the_whole_distribution_is_not_exact_on_some_of_its_tasks() -> None:
    assert reference("bayes", make_family("bandit:k=3,n=5"), "id").card.exact_reference == "exact"
    few = make_family("bandit:k=3,n=5,tests=3")
    assert reference("bayes", few, "id").card.exact_reference == "near"
    assert reference("oracle", few, "id").card.exact_reference == "exact"
