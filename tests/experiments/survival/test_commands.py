"""No command is left out, and the comparison of folders finds what differs."""

import json

from experiments import registry
from tests.experiments.survival.commands import COMMANDS, KINDS, LEARNERS, differing, products


def test_every_learner_and_every_command_that_goes_on_is_here():
    """Methods with a ``base`` train that base; one of them is here."""
    bases = {name: method.base for name, method in registry.LEARNERS.items()}
    alike = {
        "prompted_smollm2_lora_ad",
        "specialists",
    }  # they train as prompted_lora_ad and mtrl do
    every = {bases[name] or name for name in bases} - alike
    assert {bases[name] or name for name in LEARNERS} == every
    assert any(bases[name] for name in LEARNERS)
    for commands in (COMMANDS, KINDS):
        found = {command.first[0] for command in commands}
        assert found == {"train", "tune", "compare", "finetune", "data"}


def test_folders_differ_by_all_but_clocks_locks_and_parts(tmp_path):
    for name, seconds, reward in (("a", 1, 2), ("b", 3, 2), ("c", 1, 4)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / ".lock").write_text(name)
        (folder / ".model.safetensors.7.tmp").write_text(name)
        (folder / "train.jsonl").write_text(
            json.dumps({"seconds": seconds, "reward": reward}) + "\n"
        )
    (tmp_path / "c" / "more").touch()
    a, b, c = (products(tmp_path / name) for name in "abc")
    assert differing(a, b) == []
    assert set(differing(a, c)) == {"train.jsonl", "more"}
