"""Every module that can be run answers --help and refuses flags that it does not know, and plays nothing."""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

import pytest

import experiments

FOUND = [found.name for found in pkgutil.walk_packages(experiments.__path__, "experiments.")]
RUN = [
    name
    for name in FOUND
    if 'if __name__ == "__main__"' in Path(importlib.util.find_spec(name).origin).read_text()
]


def test_the_studies_are_among_them():
    assert {
        f"experiments.studies.{name}"
        for name in ("forgetting", "meta_gradient", "reference_values")
    } <= set(RUN)


@pytest.mark.parametrize("module", RUN)
@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--no-such-flag", 2)])
def test_help_is_answered_and_an_unknown_flag_refused(module, flag, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, flag])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(module).main()
    out, err = capsys.readouterr()
    assert (stop.value.code or 0) == code, err
    assert "usage" in (out + err).lower() or "no-such-flag" in err
