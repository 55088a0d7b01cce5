"""Each module of the command can be the first that is imported: none waits for another that waits for it."""

import importlib
import pkgutil
import sys

import pytest

import experiments

MODULES = [found.name for found in pkgutil.walk_packages(experiments.__path__, "experiments.")]


def loaded() -> list[str]:
    """The names of this package's modules that are loaded."""
    return [name for name in sys.modules if name.partition(".")[0] == "experiments"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_imported_first(module, monkeypatch):
    """It leaves the modules of before, and no second copy of any."""
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module(module)
    for name in loaded():
        del sys.modules[name]
