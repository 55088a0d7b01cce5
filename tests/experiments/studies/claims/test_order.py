"""Predictions are older than the rows that they are about, by the history of the repository."""

import csv
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.studies.claims.advice import EVIDENCE

ROOT = Path(__file__).resolve().parents[4]
SHEET = EVIDENCE.parent / "sheet"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ("git", *arguments), cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def refused(folder: Path, claim: Path, evidence: Path) -> str:
    """Why the evidence for a claim does not count; empty if it does."""
    predicted = git(folder, "log", "-1", "--format=%H", "-G", "prediction=", "--", str(claim))
    if not predicted or git(folder, "status", "--porcelain", "--", str(claim)):
        return f"{claim.name} is not committed"
    found = git(
        folder, "log", "--reverse", "--format=%H", "-S", f"{claim.stem},", "--", str(evidence)
    )
    if not found:
        return ""  # the rows are not committed yet, so they come later
    rows = found.splitlines()[0]
    older = subprocess.run(
        ("git", "merge-base", "--is-ancestor", predicted, rows), cwd=folder, check=False
    )
    if rows == predicted or older.returncode:
        return (
            f"the prediction of {claim.name} ({predicted[:7]}) is newer than its rows ({rows[:7]})"
        )
    return ""


def has_history() -> bool:
    try:
        return git(ROOT, "rev-parse", "--is-shallow-repository") == "false"
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.mark.skipif(not has_history(), reason="needs the history of the repository")
def test_every_prediction_was_committed_before_its_rows():
    with EVIDENCE.open(encoding="utf-8") as file:
        claims = {row["claim"] for row in csv.DictReader(file)}
    assert not list(filter(None, (refused(ROOT, SHEET / f"{c}.py", EVIDENCE) for c in claims)))


@pytest.fixture
def repository(tmp_path):
    """A repository of one claim without rows, and a function that commits all."""
    if not shutil.which("git"):
        pytest.skip("needs git")

    def commit(message: str) -> None:
        git(tmp_path, "add", ".")
        git(tmp_path, "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", message)

    git(tmp_path, "init", "-q")
    (tmp_path / "it_works.py").write_text('CLAIM = Claim(prediction="supported")\n')
    (tmp_path / "evidence.csv").write_text("claim,mean\n")
    commit("Prediction")
    return tmp_path, commit


def why(folder: Path) -> str:
    return refused(folder, folder / "it_works.py", folder / "evidence.csv")


def test_a_prediction_that_is_older_counts(repository):
    folder, commit = repository
    assert why(folder) == ""
    (folder / "evidence.csv").write_text("claim,mean\nit_works,0.3\n")
    commit("Rows")
    assert why(folder) == ""


def test_a_prediction_that_changes_after_its_rows_is_refused(repository):
    folder, commit = repository
    (folder / "evidence.csv").write_text("claim,mean\nit_works,0.3\n")
    commit("Rows")
    (folder / "it_works.py").write_text('CLAIM = Claim(prediction="refuted")\n')
    assert "not committed" in why(folder)
    commit("Another prediction")
    assert "is newer than its rows" in why(folder)


def test_a_prediction_that_comes_with_its_rows_is_refused(repository):
    folder, commit = repository
    (folder / "it_works.py").write_text('CLAIM = Claim(prediction="refuted")\n')
    (folder / "evidence.csv").write_text("claim,mean\nit_works,0.3\n")
    commit("Both")
    assert "is newer than its rows" in why(folder)


def test_another_statement_of_the_same_prediction_changes_nothing(repository):
    folder, commit = repository
    (folder / "evidence.csv").write_text("claim,mean\nit_works,0.3\n")
    commit("Rows")
    (folder / "it_works.py").write_text('"""Doc."""\nCLAIM = Claim(prediction="supported")\n')
    commit("A docstring")
    assert why(folder) == ""
