"""Each module of the command can be the first that is imported: none waits for another that waits for it."""

import importlib
import pkgutil
import sys

import pytest

import experiments

MODULES = [found.name for found in pkgutil.walk_packages(experiments.__path__, "experiments.")]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_imported_first(module, monkeypatch):
    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
            monkeypatch.delitem(sys.modules, name)

    forget()
    importlib.import_module(module)
    forget()
