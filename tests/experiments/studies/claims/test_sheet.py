"""Every claim of the sheet can be played and read, and says what it needs."""

import itertools

import numpy as np
import pytest

from bridge.detection.signals import Kept, available
from bridge.evaluation.policies import Doubts
from bridge.report.claims import verdicts
from bridge.report.gaps import PARTS
from bridge.tasks import family as make_family
from experiments import agents
from experiments.studies.attribution.study import Study as Attribution
from experiments.studies.claims import advice
from experiments.studies.claims.advice import EVIDENCE
from experiments.studies.claims.claim import Choice
from experiments.studies.claims.elsewhere import Elsewhere
from experiments.studies.claims.sheet import SHEET
from experiments.studies.claims.study import SIZES, Study
from experiments.studies.concerns.testbeds import TESTBEDS
from experiments.studies.detection.scores import OfSignal
from experiments.studies.detection.study import Study as Detection
from experiments.studies.histories import AXES
from experiments.studies.mirror.likeness import MEASURES, QUARTETS
from experiments.studies.mirror.study import Study as Mirror


@pytest.mark.parametrize("name", SHEET)
def test_what_a_claim_needs_is_there(name):
    """Players have recipes, their families have the splits, and methods at test are known."""
    for player, split in SHEET[name].test.needs:
        family = player.family
        assert family.split(split).name == split
        assert player.recipe(1.0).steps > 0
        if player.tuned:
            (cell,) = player.cells((split,), (0,), 1, EVIDENCE.parent, 1.0)
            assert agents.plays(cell.spec, family)


@pytest.mark.parametrize("name", SHEET)
def test_a_claim_without_rows_is_without_verdict(name, tmp_path):
    class Nothing:
        def of(self, player):
            return None

        def numbers(self, study):
            return {}

    evidence = SHEET[name].test.evidence(Nothing())
    assert verdicts({name: evidence})[name].outcome == "no rows"
    named = {(effect.name, effect.side) for effect in evidence.effects}
    assert len(named) == len(evidence.effects)


def test_a_statement_is_a_sentence_and_no_two_are_the_same():
    statements = [claim.statement for claim in SHEET.values()]
    assert len(set(statements)) == len(statements)
    assert all(text.endswith(".") for text in statements)
    assert all(claim.because.endswith(".") for claim in SHEET.values())


def test_there_is_a_choice_for_each_of_five_settings():
    names = {name for name, claim in SHEET.items() if isinstance(claim, Choice)}
    flags = ("known_tasks", "gradient_at_test", "uncertain_identity", "shifted")
    one = {
        name
        for flag in (*flags, "")
        for name in advice.choices(**{each: each == flag for each in flags})
    }
    assert one == names
    assert len(names) == 5


def test_cells_of_one_run_are_made_once(tmp_path):
    """Two cells that trained the same run would write into one folder."""
    for size in SIZES.values():
        for text in (False, True):
            at_once, later = Study(SHEET, size, tmp_path)._cells(text)
            folders = [cell.training.out for cell in at_once if cell.training]
            assert len(set(folders)) == len(folders)
            places = [cell.place(plan) for cell in (*at_once, *later) for plan in cell.plans]
            assert len(set(places)) == len(places)


def test_every_mitigation_of_a_testbed_is_judged():
    effects = SHEET["each_mitigation_relieves_its_concern"].test.parts
    assert len(effects) > 10
    assert {each.measure.name[0] for each in effects} == {testbed.name for testbed in TESTBEDS}


def numbers_of(study: str, tmp_path) -> set[tuple[str, ...]]:
    """The names of all numbers that a study on histories has at its size."""
    if study == "mirror":
        made, (first, *_) = Mirror.on("bandit", tmp_path, size="small"), QUARTETS
        names = [player.name for player in made.players]
        headlines = itertools.product(
            made.histories.splits, MEASURES, first.claims, [quartet.lora for quartet in QUARTETS]
        )
        return {*headlines, *(("id", "order", name, "reversed") for name in names)}
    if study == "attribution":
        made = Attribution.on("bandit", tmp_path, size="small")
        names = [player.name for player in made.players]
        return set(itertools.product(made.splits, names, PARTS))
    made = Detection.on("bandit", tmp_path, size="small")
    return {
        (axis, player.name, signal, score)
        for axis in AXES["bandit"]
        for player in made.fallbacks
        for signal in signals_of(player.method)
        for score in set(OfSignal._fields) - {"curve"}
    }


def signals_of(method: str) -> list[str]:
    """The signals of a method, by what its agents have."""
    agent = agents.load(f"zoo:{method}/bandit/0", make_family("bandit:k=5,n=10"), "id")
    one = np.zeros((1, 1))
    signs = {"order": one, "likelihood": one}
    if isinstance(agent, Doubts):
        signs["misfit"] = one
    kept = Kept(one, one[None], one[None], signs)
    return available(kept, of_steps=method in ("maml", "mtrl_finetune"))


def measures_of(test):
    return (
        [each for part in test.parts for each in measures_of(part)]
        if hasattr(test, "parts")
        else [test.measure]
    )


@pytest.mark.parametrize("study", ["mirror", "attribution", "detection"])
def test_numbers_of_other_studies_are_there(study, tmp_path):
    asked = {
        measure.name
        for claim in SHEET.values()
        for measure in measures_of(claim.test)
        if isinstance(measure, Elsewhere) and measure.study == study
    }
    assert asked
    assert asked <= numbers_of(study, tmp_path)
