"""The frozen policies that adapters are made for: read from files, and identified by their weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
from torch import nn
from transformers.utils import logging

from bridge.digest import raw_bytes
from bridge.errors import UserError
from bridge.training.learner import seeded_init
from llm_adapt.local_files import check_model
from llm_adapt.policy import TransformerPolicy


def fingerprint(policy: nn.Module) -> str:
    """A name with sixteen hex digits of a hash of all weights."""
    digest = hashlib.sha256()
    for name, weights in sorted(policy.state_dict().items()):
        digest.update(name.encode() + raw_bytes(weights))
    return f"metabridge_policy {digest.hexdigest()[:16]}"


def read(folder: Path) -> TransformerPolicy:
    """A policy that ``save_pretrained`` has written, from a local folder: JSON and safetensors alone.

    Raises:
        UserError: it cannot be read.
    """
    try:
        check_model(folder)
        with seeded_init(0), quiet():  # initial weights are replaced at once
            found: Any = TransformerPolicy.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        policy, report = found
        for fault, kind in (
            ("it lacks", "missing_keys"),
            ("its config.json has no place for", "unexpected_keys"),
        ):
            if report[kind]:
                raise ValueError(f"{fault} {', '.join(sorted(report[kind]))}")
        return policy
    except Exception as error:  # from any of the libraries involved
        raise UserError(
            f"{folder} holds no policy that can be read ({error}). Fine-tune it again."
        ) from error


def check_base(config: peft.PeftConfig, policy: nn.Module, folder: Path) -> None:
    """Make sure that the adapter in ``folder`` was made for this policy, by its fingerprint or the folder it names.

    Raises:
        UserError: it was made for another policy, or names none.
    """
    base, own = config.base_model_name_or_path, fingerprint(policy)
    if base and Path(base).is_dir():
        base = fingerprint(read(Path(base)))
    if not base:
        raise UserError(
            f"{folder} holds an adapter that names no policy as its base. If it is this one, write "
            f'"base_model_name_or_path": "{own}" into its adapter_config.json.'
        )
    if base != own:
        raise UserError(
            f"{folder} holds an adapter of the policy {base}; expected {own}. Load the adapter's own base."
        )


@contextmanager
def quiet() -> Generator[None]:
    """Inside this context there are no progress bars of transformers, and no warning about an attribute that peft 0.21
    reads and transformers has renamed."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
