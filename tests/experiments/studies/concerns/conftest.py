"""Figures of the study, as they are before they are saved."""

import pytest

from experiments.studies.concerns import conflicts, front, transfer


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """The figures that are drawn, none of which is rendered."""
    figures = []
    for module in (conflicts, front, transfer):
        monkeypatch.setattr(module, "save", lambda figure, stem: figures.append(figure) or stem)
    return figures
