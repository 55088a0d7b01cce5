"""What a command imports: nothing that it does not use."""

import json
import subprocess
import sys

import pytest

from experiments import catalogue

NEVER = {"transformers", "datasets", "peft", "accelerate", "matplotlib", "huggingface_hub"}
SCRIPT = """
import json, sys
from experiments import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as stop:
    print()
    print(json.dumps([stop.code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported(*line: str) -> set[str]:
    """The packages that a command has imported by its end."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *line], capture_output=True, text=True, check=True
    )
    code, names = json.loads(ran.stdout.splitlines()[-1])
    assert code == 0, ran.stderr
    return set(names)


@pytest.mark.parametrize(
    "line",
    [
        *(("list", what) for what in ("families", "methods", "splits", "axes", "experiments")),
        ("describe", "icl_rl"),
    ],
)
def test_list_and_describe_import_neither_torch_nor_numpy(line):
    assert not imported(*line) & (NEVER | {"torch", "numpy", "pyarrow", "duckdb", "scipy"})


def test_a_reference_on_a_bandit_needs_no_package_of_the_transformer_track():
    found = imported("evaluate", "random", "--family", "bandit:k=5,n=10", "--trials", "20")
    assert "torch" in found
    assert not found & (NEVER | {"pandas", "sympy"})  # sympy comes with torch's compiler


@pytest.mark.parametrize("what", catalogue.KINDS)
def test_the_catalogue_says_what_the_code_says(what):
    """If this fails: python -m experiments.catalogue"""
    written = json.loads(catalogue.FILE.read_text(encoding="utf-8"))
    assert written[what] == json.loads(json.dumps(catalogue.entries(what)))


def test_the_details_in_the_catalogue_say_what_the_code_says():
    """If this fails: python -m experiments.catalogue"""
    written = json.loads(catalogue.FILE.read_text(encoding="utf-8"))
    assert written["details"] == json.loads(json.dumps(catalogue.all_details()))
