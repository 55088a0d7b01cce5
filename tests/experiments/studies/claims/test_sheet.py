"""Every claim of the sheet can be played and read, and says what it needs."""

import pytest

from bridge.report.claims import verdicts
from experiments import agents
from experiments.studies.claims import advice
from experiments.studies.claims.advice import EVIDENCE
from experiments.studies.claims.claim import Choice
from experiments.studies.claims.sheet import SHEET
from experiments.studies.claims.study import SIZES, Study
from experiments.studies.concerns.testbeds import TESTBEDS


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

        def mitigation(self, testbed, name):
            return None

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
    assert {each.measure.testbed for each in effects} == {testbed.name for testbed in TESTBEDS}
