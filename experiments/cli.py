"""The command ``metabridge``: parses the command line, runs a command, and turns errors into exit codes."""

from __future__ import annotations

import functools
import gc
import inspect
import operator
import re
import sys
import typing
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from bridge import interrupts
from bridge.config import refuse_beyond
from bridge.errors import UserError
from bridge.files import unreadable
from experiments import failures
from experiments.commands.advise import Advise
from experiments.commands.attribute import Attribute
from experiments.commands.check import Check
from experiments.commands.claims import Claims
from experiments.commands.compare import Compare
from experiments.commands.concerns import Concerns
from experiments.commands.data import Data
from experiments.commands.describe import Describe
from experiments.commands.detect import Detect
from experiments.commands.evaluate import Evaluate
from experiments.commands.few_shot import FewShot
from experiments.commands.finetune import Finetune
from experiments.commands.list import List
from experiments.commands.mirror import Mirror
from experiments.commands.prompts import Prompts
from experiments.commands.remedies import Remedies
from experiments.commands.report import Report
from experiments.commands.shift import Shift
from experiments.commands.show import Show
from experiments.commands.train import Train
from experiments.commands.tune import Tune
from experiments.knob_flags import with_knobs
from experiments.streams import discard_output, replace_unknown_characters
from experiments.version import version

_COMMANDS = (
    List,
    Describe,
    Evaluate,
    Train,
    Show,
    Finetune,
    FewShot,
    Concerns,
    Shift,
    Remedies,
    Mirror,
    Attribute,
    Detect,
    Prompts,
    Claims,
    Advise,
    Data,
    Tune,
    Compare,
    Report,
    Check,
)
_ABOUT = """Classical meta-RL beside in-context and fine-tuned transformers, under one evaluator.

For example: metabridge evaluate zoo:rl2/bandit --splits id,shift/prior
  metabridge list methods     names, a line each
  metabridge describe rl2     all about one of them
  metabridge --version        the version, and the commit of a checkout

Completion of commands and flags:
  bash: source <(metabridge --tyro-print-completion bash)
  zsh:  mkdir -p ~/.zfunc && metabridge --tyro-write-completion zsh ~/.zfunc/_metabridge
        (with fpath+=~/.zfunc before compinit in ~/.zshrc)"""


_TAKES_FAMILY = {"family", "families", "target"}
"""Names of what a command takes a family by."""
_KNOBS = "Beside a family gym:NAME: --vary length=0.4:0.8 --shift length=0.8:1.6, what varies between its tasks."


def name_of(command: type) -> str:
    """Return the name of a command: ``few-shot`` for ``FewShot``."""
    return re.sub("(?<!^)([A-Z])", r"-\1", command.__name__).lower()


def _about(command: type, given: list[str]) -> str:
    """The help of a command: its docstring, whose example is left out of the list of all commands."""
    about, _, example = (inspect.getdoc(command) or "").partition("\n\n")
    about = " ".join(about.split())
    if name_of(command) not in given:
        return about
    made: Any = command
    takes_family = _TAKES_FAMILY & {field.name for field in fields(made)}
    return "\n\n".join([about, *filter(None, [example, _KNOBS * bool(takes_family)])])


def parse(given: list[str]) -> Any:
    """Return the command that is given, an instance of its class.

    Raises:
        SystemExit: help or a completion was printed, or the line is no command.
    """
    commands: Any = functools.reduce(
        operator.or_,
        (
            Annotated[command, subcommand(name_of(command), description=_about(command, given))]
            for command in _COMMANDS
        ),
    )
    try:
        return tyro.cli(commands, args=given, prog="metabridge", description=_ABOUT)
    except SystemExit:
        sys.stdout.flush()
        raise


def _run(given: list[str]) -> int:
    if given == ["--version"]:
        print(f"metabridge {version()}")
        return 0
    command = parse(with_knobs(given))
    if "torch" not in sys.modules:
        gc.disable()  # what imports make stays, and a tenth of their time would go into looking for garbage in it
    _refuse_numbers(command)
    with interrupts.sigterm_as_ctrl_c():
        return command.run()


def _refuse_numbers(command: object) -> None:
    """Refuse flags beyond the bounds on their declarations."""
    hints = typing.get_type_hints(type(command), include_extras=True)
    for field in fields(command):  # ty: ignore[invalid-argument-type]
        refuse_beyond(
            f"--{field.name.replace('_', '-')}", getattr(command, field.name), hints[field.name]
        )


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 well, 1 some cell or check failed, 2 bad input, 130 interrupted."""
    replace_unknown_characters()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
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
        discard_output()
        code = 0
    except PermissionError as error:
        print(f"metabridge: {unreadable(Path(error.filename or ''), error)}", file=sys.stderr)
        code = 2
    except Exception as error:
        code, message = failures.explain(error)
        print(f"metabridge: {message}", file=sys.stderr)
    finally:
        gc.enable()
    sys.exit(code)


if __name__ == "__main__":
    main()
