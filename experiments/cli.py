"""The command ``metabridge``: list, evaluate, train, finetune, data, tune, compare, report, check.

Each command is a frozen dataclass whose fields are its flags. Heavy packages are imported by the command that needs
them, so that ``metabridge --help`` answers at once.
"""

from __future__ import annotations

import errno
import gc
import json
import sys
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, subcommand

from bridge import interrupts
from bridge.config import Seed, Trials, Within, refuse_beyond, split_list
from bridge.errors import UserError
from bridge.files import unreadable
from bridge.training.budget import Budget
from experiments import registry
from experiments.sizes import SIZES, Size
from experiments.streams import replace_unknown_characters

SizeName = Literal["smoke", "quick", "small", "full"]


@dataclass(frozen=True, kw_only=True)
class List:
    """What there is: families, methods, splits, axes or experiments."""

    what: Positional[Literal["families", "methods", "splits", "axes", "experiments"]] = "families"
    family: tuple[str, ...] = ()
    """Only for these families (default: each with its own defaults)."""
    json: bool = False
    """Print a JSON array of objects, each with a name."""

    def run(self) -> int:
        """Print the list."""
        from experiments import listing

        entries = listing.entries(self.what, split_list(self.family))
        if self.json:
            print(json.dumps(entries, indent=1))
        else:
            listing.show(entries)
        return 0


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Play one method on one family, beside the references that its scores need."""

    method: Positional[str]
    """A method, with parameters after a colon (ucb1:c=0.1), or the folder of a trained run."""
    family: str = "bandit:k=5,n=10"
    """A family, with parameters after a colon: bandit:k=5,n=100."""
    splits: tuple[str, ...] = ("id",)
    """Split names or patterns: id,shift/gap/3, shift/gap, shift/*/4."""
    trials: Trials = 10_000
    """Trials a split."""
    track: Literal["O", "C", "F"] = "O"
    """O: own exploration; C: a context shown to every method, then frozen; F: free adaptation, then frozen."""
    behaviour: str = ""
    """Who makes the context of track C: a reference (graded:noise=0.5), or a run's folder (default: random); splits of
    the axis context_quality make their own."""
    shots: int = 0
    """Tracks C and F: episodes shown or adapted on (0: the whole trial)."""
    trials_per_task: int = 0
    """Trials that share a task, where tasks are continuous (0: one each); 64 or more for the worst fifth of tasks."""
    eval_seed: Seed = 0
    """Seed of the evaluation's noise."""
    decode: str = ""
    """How a trained run's distributions become actions while it explores: sample (as it was trained), argmax, or a
    temperature: 0.5. Frozen episodes (tracks C and F) are scored by the likeliest actions."""
    memory: str = "1GB"
    """What playing may need beyond what the process needs anyway: 500MB, 2GB. It changes no number."""
    json: bool = False
    """Print JSON lines: method, family, split, metric, mean, low, high, n."""

    def run(self) -> int:
        """Play and print."""
        from bridge.evaluation.footprint import parse_memory
        from experiments import evaluation

        _one_thread()
        plan = {
            name: getattr(self, name)
            for name in ("trials", "track", "shots", "trials_per_task", "eval_seed")
        }
        splits = _named("splits", self.splits, ("id",))
        memory = parse_memory(self.memory)
        lines = evaluation.lines(
            self.method, self.family, splits, plan, self.behaviour, self.decode, memory
        )
        if self.json:
            for line in lines:
                print(json.dumps(line, allow_nan=False))
        else:
            evaluation.show(lines)
        return 0


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a learned method in a run folder; stop it at any moment and go on with --resume."""

    method: Positional[str]
    """A learned method, with parameters after a colon (rl2:hidden=128,critic=task), or a folder of metabridge tune."""
    family: str = "bandit:k=5,n=10"
    """A family, with parameters after a colon."""
    seed: Seed = 0
    """Training seed."""
    size: SizeName | None = None
    """Whose budget to train for (default: quick)."""
    budget: str = ""
    """Instead of the size's: environment steps (5e6), seconds of training (600s) or operations (1e15flops)."""
    out: Path
    """The run folder."""
    resume: bool = False
    """Go on with the run that the folder holds, to a larger --budget if there is one."""
    processes: Annotated[int, Within(1, 256)] = 1
    """Processes that play and learn together; 2 is faster on two cores, and another run than 1."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where tensors live."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the forward pass."""
    tracker: str = ""
    """Also log to a tracker that Accelerate knows: tensorboard (pip install tensorboard), wandb and others."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints: most of the work that a kill can lose."""

    def run(self) -> int:
        """Train until the budget is spent or a signal asks to stop."""
        from experiments import methods, training, tuning

        _one_thread()
        method, count = self.method, 1
        if methods.is_search(method):
            method, count = tuning.chosen(method, self.family)
        shared = ("family", "seed", "out", "processes", "device", "precision", "tracker")
        run = training.Run(
            method=method,
            budget=_one_budget(self.budget, self.method, self.family, self.size),
            tuning_configs=count,
            checkpoint_seconds=self.checkpoint_every,
            **{name: getattr(self, name) for name in shared},
        )
        if training.train(run, resume=self.resume):
            print(
                f"Trained: {self.out}. Next: metabridge evaluate {self.out} --family {self.family}"
            )
            return 0
        print(
            f"Stopped and saved. Go on with the same command and --resume: {self.out}",
            file=sys.stderr,
        )
        return 130


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Tune a copy of a trained transformer on tasks of one split, or on demonstrations; evaluate it on others. Stop it
    at any moment and go on with --resume."""

    base: Positional[str]
    """The folder of a trained transformer (icl_ad, icl_dpt, icl_rl, mt)."""
    family: str = "bandit:k=5,n=10"
    """The family that it was trained on."""
    split: str = ""
    """Whose tasks are played for reward: shift/reward_sign/4 (empty: train; with --demos, that of the histories)."""
    tasks: int = 16
    """How many of them; where a split has tasks without end, none that evaluate scores."""
    demos: str = ""
    """Instead of reward, histories to imitate: a folder that metabridge data has made, or a shard in it."""
    tuner: Literal["lora", "full", "head", "ia3", "prompt"] = "lora"
    """What is trained: adapters (lora, ia3), vectors read before every trial, the distribution of actions alone, or
    all weights."""
    rank: int = 8
    """Of lora's updates; how many vectors a prompt has."""
    alpha: int = 16
    """What lora's updates are multiplied by, times the rank."""
    targets: str = ""
    """Modules that adapters are added to, joined by +: q_proj+v_proj; empty: as published."""
    steps: int = 100
    """Gradient steps."""
    lr: float = 0.0
    """Learning rate at first; it falls linearly to zero (0: as suits the tuner)."""
    batch: int = 4_096
    """Environment steps that each gradient step learns from; they are of eight trials or more."""
    seed: Seed = 0
    """Of new weights, play and windows."""
    out: Path
    """A new folder: the base, and what was learned as peft's adapter or a whole policy."""
    resume: bool = False
    """Go on with the tuning that the folder holds."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints: most work that a kill can lose."""

    def run(self) -> int:
        """Tune and say what next, or that a signal asked to stop."""
        if self.demos and self.tasks != Finetune.tasks:
            raise UserError(
                "--tasks is for play; --demos has tasks of its own. Leave one of them out."
            )
        from experiments import finetuning
        from llm_adapt.finetuning import Config

        _one_thread()
        names = ("tuner", "rank", "alpha", "targets", "steps", "lr", "batch", "tasks", "seed")
        config = Config(**{name: getattr(self, name) for name in names})
        more = {
            name: getattr(self, name) for name in ("split", "demos", "resume", "checkpoint_every")
        }
        about = finetuning.finetune(self.base, self.family, config, self.out, **more)
        if about is None:
            print(
                f"Stopped and saved. Go on with the same command and --resume: {self.out}",
                file=sys.stderr,
            )
            return 130
        print(
            f"Tuned {about['params_trained']:,} of {about['params_total']:,} weights on {about['env_steps']:,} "
            f"environment steps: {self.out}. Next: metabridge evaluate {self.out} --family {self.family} --splits "
            f"{about['split']}"
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Data:
    """Let agents play tasks of a split and keep their histories as a Parquet dataset."""

    sources: Positional[str]
    """Who plays, in turn, joined by +: references (thompson+q_learning) and folders of trained runs."""
    family: str = "bandit:k=5,n=10"
    """A family, with parameters after a colon."""
    split: str = "train"
    """Whose tasks; histories on others than train are for metabridge finetune --demos."""
    shards: int = 1
    """Parquet files; more can be added later by the same command."""
    rows: int = 0
    """Histories of each, on a task each (0: 20,000 steps of them)."""
    episodes: int = 0
    """Episodes of a history (0: as many as a trial has)."""
    seed: Seed = 0
    """Of tasks and play."""
    out: Path
    """The collection gets a folder of its own in it, named by what it is; train on it: icl_dpt:data=FOLDER."""

    def run(self) -> int:
        """Play, write and say where."""
        from experiments import collecting

        _one_thread()
        names = ("split", "shards", "rows", "episodes", "seed", "out")
        folder = collecting.collect(
            self.sources, self.family, **{name: getattr(self, name) for name in names}
        )
        print(f"{self.shards} shard(s) of histories: {folder}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Train N configurations of a method, drawn by seed, and choose the best on id_val; then train that one."""

    method: Positional[str]
    """A learned method; what stands after its colon is kept fixed (rl2:hidden=128)."""
    family: str = "bandit:k=5,n=10"
    """A family, with parameters after a colon."""
    configs: Annotated[int, Within(1, 10_000)] = 8
    """How many, the method's own defaults among them."""
    seed: Seed = 0
    """Seed of the draws; configuration i is the same whatever --configs, so that a search can go on."""
    size: SizeName | None = None
    """Whose budget each configuration is trained for (default: quick)."""
    budget: str = ""
    """Instead of the size's: environment steps (5e6), seconds of training (600s) or operations (1e15flops)."""
    out: Path
    """The tuning folder; what is done in it is not done again."""

    def run(self) -> int:
        """Train, score and print."""
        from experiments import tuning

        _one_thread()
        budget = _one_budget(self.budget, self.method, self.family, self.size)
        tuning.tune(
            self.method,
            self.family,
            configs=self.configs,
            seed=self.seed,
            budget=budget,
            out=self.out,
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Play methods side by side; what is done already in OUT is not done again."""

    size: SizeName = "quick"
    """smoke: under a minute; quick: under ten; small: about ten hours; full: about nine days."""
    families: tuple[str, ...] = ()
    """Instead of the size's families: bandit:k=5,n=10,gridnavi."""
    methods: tuple[str, ...] = ()
    """Instead of the size's methods."""
    splits: tuple[str, ...] = ()
    """Instead of the size's splits."""
    seeds: tuple[Seed, ...] = ()
    """Training seeds of learned methods (references have none), instead of the size's."""
    trials: Trials | None = None
    """Trials a split, instead of the size's."""
    budget: str = ""
    """Training of learned methods, instead of the size's: environment steps (5e6), seconds (600s) or 1e15flops."""
    tuning: Annotated[int, Within(1, 10_000)] | None = None
    """Configurations to choose from on id_val for every learned method, instead of the size's; 1: the defaults."""
    memory: str = "1GB"
    """What playing may need in each process beyond what it needs anyway: 500MB, 2GB. It changes no number."""
    out: Path = Path("results/compare")
    """Where rows, tables and figures go."""

    def run(self) -> int:
        """Play, then report."""
        from bridge.evaluation.footprint import parse_memory
        from experiments import compare, reporting

        _one_thread()
        size = SIZES[self.size]
        families = _named("families", self.families, size.families)
        trials = _by_family(self.trials, families, size.trials)
        methods = _named("methods", self.methods, size.methods)
        self._refuse_training_flags(methods, size)
        failed = compare.compare(
            families,
            methods,
            _named("splits", self.splits, size.splits),
            trials,
            lambda method, family: _budget(self.budget, method, family, self.size),
            self.seeds or size.seeds,
            size.tuning_configs if self.tuning is None else self.tuning,
            self.out,
            strict_splits=bool(self.splits),
            memory=parse_memory(self.memory),
            strict_methods=bool(self.methods),
        )
        reporting.report(self.out)
        if failed:
            print(
                f"{failed} cell(s) failed; see {self.out / 'errors.log'}. The same command tries them again.",
                file=sys.stderr,
            )
        return 1 if failed else 0

    def _refuse_training_flags(self, methods: tuple[str, ...], size: Size) -> None:
        """Refuse flags about training if no method is trained, and seeds that stand twice or that tuning has."""
        given = {"seeds": self.seeds, "budget": self.budget, "tuning": self.tuning}
        idle = [f"--{flag}" for flag, value in given.items() if value]
        if idle and not any(map(registry.is_learned, methods)):
            raise UserError(
                f"{', '.join(idle)}: for methods that are trained, and none of {', '.join(methods)} is."
            )
        if self.budget:
            Budget.parse(self.budget)
        seeds, tuning = (
            self.seeds or size.seeds,
            size.tuning_configs if self.tuning is None else self.tuning,
        )
        if twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]:
            raise UserError(f"--seeds names {twice[0]} twice. A seed has one run; name each once.")
        if tuning > 1 and registry.TUNING_SEED in seeds:
            raise UserError(
                f"Training seed {registry.TUNING_SEED} is the one that tuning trains with. Choose another."
            )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Tables (terminal, Markdown, CSV) and figures (PNG, SVG) of a results folder."""

    folder: Positional[Path]

    def run(self) -> int:
        """Write and print the report."""
        from experiments import reporting

        _one_thread()
        reporting.report(self.folder)
        return 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """Does a family or an agent keep the contract? One line a rule."""

    target: Positional[str]
    """A registered family or method, the folder of a trained run, or your own: module:name or path/to/file.py:name."""
    family: str = ""
    """The family that an agent is checked on (default: bandit:k=5,n=10)."""

    def run(self) -> int:
        """Run every rule and print what came of it."""
        from experiments import checking

        _one_thread()
        return checking.check(self.target, self.family)


Command = (
    Annotated[List, subcommand("list")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Finetune, subcommand("finetune")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Tune, subcommand("tune")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Check, subcommand("check")]
)


def _named(flag: str, given: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    """What a list flag names, the default where it was not given; an empty name is refused."""
    if not given:
        return default
    names = split_list(given)
    if not names:
        raise UserError(
            f"--{flag} names nothing. Leave it out for the default, or name one or more."
        )
    return names


def _one_thread() -> None:
    """To be called once a command has imported its modules: one torch thread, and garbage is collected again.

    Batches of a few thousand rows are too small for two threads (measured: up to four times slower).
    """
    import torch

    torch.set_num_threads(1)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _refuse_numbers(command: object) -> None:
    """Refuse flags beyond the bounds on their declarations."""
    hints = typing.get_type_hints(type(command), include_extras=True)
    for field in fields(command):  # ty: ignore[invalid-argument-type]
        refuse_beyond(
            f"--{field.name.replace('_', '-')}", getattr(command, field.name), hints[field.name]
        )


def _short_of_memory(error: Exception) -> bool:
    """Whether memory ran out; torch says so in words."""
    return (
        isinstance(error, MemoryError)
        or "allocate memory" in str(error)
        or "out of memory" in str(error)
    )


def _too_long(error: OSError) -> tuple[int, str] | None:
    """The exit code and what to say if a name is too long for the file system; None if that is not what is wrong."""
    if error.errno != errno.ENAMETOOLONG:
        return None
    longest = max(Path(error.filename or "").parts, key=len, default="")
    return 2, (
        f"{longest[:40]}... ({len(longest)} characters) is too long: a file's name has at most 255 bytes, a whole path "
        "4,095. Choose a shorter one."
    )


def _unforeseen(error: Exception) -> tuple[int, str]:
    """The exit code for an error that is no bad input, and what to say: where its traceback was written.

    Libraries need a folder for temporary files, some as soon as they are imported: the lack of one is no fault of ours.
    """
    import tempfile
    import traceback

    if _short_of_memory(error):
        return 2, f"this needs more memory than there is ({error}). Ask for less."
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="metabridge-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exc(file=file)
    except OSError as lack:
        full = f"no temporary file could be written: {lack.strerror}. Make room, or name another folder in TMPDIR."
        if str(lack) == str(error):
            return 2, full
        return (
            1,
            f"{type(error).__name__}: {error}\nThis is a fault of ours. To have its details, run it again: {full}",
        )
    if (
        isinstance(error, OSError) and error.errno == errno.ENOSPC
    ):  # files of ours have an error of their own
        Path(file.name).unlink()
        return (
            2,
            "standard output could not be written: the disk is full. Make room, or send it elsewhere.",
        )
    return (
        1,
        f"{type(error).__name__}: {error}\nThis is a fault of ours; its details are in {file.name}.",
    )


def _by_family(
    asked: int | None, families: tuple[str, ...], by_size: dict[str, int]
) -> dict[str, int]:
    """A count by family name: what was asked, else the size's."""
    return {
        name: asked or _of_family(name, by_size)
        for name in (spec.partition(":")[0] for spec in families)
    }


def _of_family(name: str, by_size: dict[str, int]) -> int:
    """A size's count for a family; its smallest for one that it does not have."""
    return by_size.get(name, min(by_size.values()))


def _one_budget(asked: str, method: str, family: str, size: SizeName | None) -> Budget:
    """The training that was asked for, by a budget or by a size."""
    if asked and size:
        raise UserError("--budget and --size both say how long to train. Leave one of them out.")
    return _budget(asked, method, family, size or "quick")


def _budget(asked: str, method: str, family: str, size: SizeName) -> Budget:
    """The training that was asked for, else the size's."""
    return Budget.parse(asked or str(SIZES[size].steps(family.partition(":")[0], method)))


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 well, 1 some cell or check failed, 2 bad input, 130 interrupted."""
    replace_unknown_characters()
    command = tyro.cli(
        Command,
        args=arguments,
        prog="metabridge",
        description="Classical meta-RL beside in-context and fine-tuned transformers, under one evaluator.",
    )
    if "torch" not in sys.modules:
        gc.disable()  # what imports make stays, and a tenth of their time would go into looking for garbage in it
    try:
        _refuse_numbers(command)
        with interrupts.sigterm_as_ctrl_c():
            code = command.run()
        sys.stdout.flush()
    except UserError as error:
        print(f"metabridge: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(
            "metabridge: interrupted. What was finished is kept; run the same command to go on (train, finetune: with "
            "--resume).",
            file=sys.stderr,
        )
        code = 130
    except BrokenPipeError:
        code = 0
    except PermissionError as error:
        print(f"metabridge: {unreadable(Path(error.filename or ''), error)}", file=sys.stderr)
        code = 2
    except OSError as error:
        code, said = _too_long(error) or _unforeseen(error)
        print(f"metabridge: {said}", file=sys.stderr)
    except Exception as error:
        code, said = _unforeseen(error)
        print(f"metabridge: {said}", file=sys.stderr)
    finally:
        gc.enable()
    sys.exit(code)


if __name__ == "__main__":
    main()
