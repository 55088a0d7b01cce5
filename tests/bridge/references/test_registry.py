"""References by name: every entry can be made, and wrong names are told what there is."""

import pytest

from bridge.errors import UserError
from bridge.references.registry import REFERENCES, reference
from bridge.tasks import family as make_family

FAMILIES = [
    make_family(spec)
    for spec in (
        "bandit:k=2,n=4",
        "gridnavi",
        "darkroom:episodes=2",
        "tabular_mdp:n=2",
        "point_nav",
        "sparse_point",
    )
]


def test_every_kind_of_family_has_the_references_that_are_made_for_it():
    for name, kinds in REFERENCES.items():
        for family in FAMILIES:
            if any(isinstance(family, kind) for kind in kinds) and name not in (
                "bayes",
                "bayes_train",
                "bayes_tasks",
                "gittins",
            ):
                assert reference(name, family, "id").card.method == name


def test_every_family_has_an_oracle():
    for family in FAMILIES:
        assert reference("oracle", family, "train").card.clue == "task"


def test_wrong_names_are_told_what_there_is():
    with pytest.raises(UserError, match="Did you mean 'thompson'"):
        reference("thomson", FAMILIES[0], "id")
    with pytest.raises(UserError, match="gittins does not play gridnavi: it is made for Bandit"):
        reference("gittins", FAMILIES[1], "id")
