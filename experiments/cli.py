"""The command ``metabridge``: parses the command line, runs a command, and turns errors into exit codes."""

from __future__ import annotations

import functools
import gc
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
from experiments.commands.check import Check
from experiments.commands.compare import Compare
from experiments.commands.data import Data
from experiments.commands.evaluate import Evaluate
from experiments.commands.few_shot import FewShot
from experiments.commands.finetune import Finetune
from experiments.commands.list import List
from experiments.commands.report import Report
from experiments.commands.train import Train
from experiments.commands.tune import Tune
from experiments.streams import discard_output, replace_unknown_characters


def _name(command: type) -> str:
    """``few-shot`` for ``FewShot``."""
    return re.sub("(?<!^)([A-Z])", r"-\1", command.__name__).lower()


_COMMANDS = (List, Evaluate, Train, Finetune, FewShot, Data, Tune, Compare, Report, Check)
Command: Any = functools.reduce(
    operator.or_,
    (Annotated[command, subcommand(_name(command))] for command in _COMMANDS),
)


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
