"""What the text of a spec says: its name, run, family and seeds. ``agents.py`` decides which agent it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge import user_code
from bridge.references.registry import REFERENCES, DoesNotPlayError
from experiments import registry, zoo
from experiments.registry import LEARNERS, PRETRAINED, TEST_TIME_METHODS

if TYPE_CHECKING:
    from bridge.tasks.base import TaskFamily

DEFAULT_FAMILY = "bandit:k=5,n=10"
"""The family of commands that name neither a family nor a trained run."""


def is_name(spec: str) -> bool:
    """Return True if ``spec`` begins with the name of a method."""
    name = registry.name_of(spec)
    return any(name in named for named in (REFERENCES, LEARNERS, TEST_TIME_METHODS, PRETRAINED))


def own_place(spec: str) -> str:
    """Return the place of a user's own agent in ``spec`` (``own.py:Mine``); empty if ``spec`` names something else."""
    return "" if is_name(spec) or zoo.is_entry(spec) else user_code.target_of(spec)


def label(spec: str) -> str:
    """Return the name of ``spec`` in a comparison: ``lora_reward_icl_rl`` for ``lora_reward:run=zoo:icl_rl``.

    A run of specialists is ``specialists``, by which scores are measured.
    """
    from experiments import runs

    name, run = registry.name_of(spec), run_in(spec)
    if zoo.is_method(run) and spec == f"{name}:run={run}":
        return f"{name}_{run.removeprefix(zoo.PREFIX)}"
    if spec == run and not zoo.is_entry(spec) and runs.is_folder(spec):
        name = runs.read(spec).about["method"]
    return name if name in LEARNERS and LEARNERS[name].of_test_tasks else spec


def names() -> dict[str, str]:
    """Return the names that methods have in results, each with the method that it is made from (empty: none).

    A run with gradient steps at test is named after both methods: ``full_reward_rl2``. A run of the zoo is
    ``zoo:rl2`` beside the ``rl2`` that ``compare`` trains.
    """
    ours = LEARNERS.builtin
    bases = [name for name in LEARNERS if name not in ours or not ours[name].base]
    made = {f"{zoo.PREFIX}{base}": base for base in bases}
    made |= {f"{method}_{base}": base for method in TEST_TIME_METHODS for base in bases}
    return dict.fromkeys([*bases, *REFERENCES, *PRETRAINED], "") | made


def own_family(spec: str) -> str:
    """Return the family that the run in ``spec`` was trained on; ``DEFAULT_FAMILY`` if ``spec`` names no run.

    Raises:
        UserError: as ``trained_on``.
    """
    return trained_on(spec) or DEFAULT_FAMILY


def trained_on(spec: str) -> str | None:
    """Return the family that the run in ``spec`` was trained on; None if ``spec`` names no run of one family.

    Raises:
        UserError: as ``resolve``, or the run's ``config.json`` cannot be read.
    """
    from experiments import runs

    run = run_in(spec)
    if not run or zoo.is_method(run) or not runs.is_folder(run):
        return None
    return runs.read(run).about["family"]


def run_in(spec: str) -> str:
    """Return the part of ``spec`` that names the folder of a run: all of it, ``run=`` of a method at test, or none."""
    name = registry.name_of(spec)
    for methods in (TEST_TIME_METHODS, PRETRAINED):
        if name in methods:
            return registry.configure(spec, methods[name]).run
    return "" if is_name(spec) else spec


def reads_text(spec: str) -> bool:
    """Return True if ``spec`` names an agent of a language model.

    Raises:
        UserError: as ``trained_on``.
    """
    from experiments import runs

    name, run = registry.name_of(spec), run_in(spec)
    if name in PRETRAINED:
        return True
    if name in LEARNERS:
        return LEARNERS[name].reads_text
    if zoo.is_method(run):
        learned = LEARNERS.get(run.removeprefix(zoo.PREFIX))
        return learned is not None and learned.reads_text
    if not run or not runs.is_folder(run):
        return False
    method = runs.read(run).method
    return method is not None and method.reads_text


def seeds(spec: str, family: TaskFamily) -> dict[int, str]:
    """Return the spec of each training seed that ``spec`` stands for: all that the zoo has, if it names none.

    What has no training seed is of seed 0.
    """
    from experiments import runs

    run = run_in(spec)
    if zoo.is_entry(run):
        run = in_zoo(run, family)
        if run.count("/") == 1:
            method, name = run.removeprefix(zoo.PREFIX).split("/")
            return {
                seed: spec.replace(run_in(spec), f"{run}/{seed}")
                for seed in zoo.seeds(method, name)
            }
    if run and runs.is_folder(run):
        return {runs.read(run).about.get("seed", 0): spec}
    return {0: spec}


def in_zoo(spec: str, family: TaskFamily) -> str:
    """Return ``zoo:METHOD`` as ``zoo:METHOD/FAMILY``, and any other spec as it is.

    Raises:
        DoesNotPlayError: the zoo has it on other families only.
    """
    if not zoo.is_method(spec):
        return spec
    method = spec.removeprefix(zoo.PREFIX)
    if family.name not in (known := zoo.families(method)):
        raise DoesNotPlayError(
            f"{spec} has no run on {family.id}. The zoo has it on {', '.join(known)}."
        )
    return f"{spec}/{family.name}"
