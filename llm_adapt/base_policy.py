"""The frozen policies that adapters are made for: read from files, and told from one another by their weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
from transformers.utils import logging

from bridge.digest import raw_bytes
from bridge.errors import UserError
from bridge.training.learner import seeded_init
from llm_adapt.local_files import check_model
from llm_adapt.policy import TransformerPolicy


def fingerprint(policy: TransformerPolicy) -> str:
    """Sixteen hex digits that say which weights these are."""
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
        with seeded_init(0), quiet():  # new weights are replaced at once
            found: Any = TransformerPolicy.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        policy, report = found
        for fault, kind in (
            ("it lacks", "missing_keys"),
            ("its config.json says nothing of", "unexpected_keys"),
        ):
            if report[kind]:
                raise ValueError(f"{fault} {', '.join(sorted(report[kind]))}")
        return policy
    except Exception as error:  # of any of the libraries that take part
        raise UserError(
            f"{folder} holds no policy that can be read ({error}). Fine-tune it again."
        ) from error


def check_base(config: peft.PeftConfig, policy: TransformerPolicy, folder: Path) -> None:
    """Whether an adapter in ``folder`` was made for this policy: by its fingerprint, or by the folder that peft names.

    Raises:
        UserError: it was made for another, or does not say for which.
    """
    named, own = config.base_model_name_or_path, fingerprint(policy)
    base = fingerprint(read(Path(named))) if named and Path(named).is_dir() else named
    if not base:
        raise UserError(
            f"{folder} holds an adapter that does not say of which policy it is. If it is this one, write "
            f'"base_model_name_or_path": "{own}" into its adapter_config.json.'
        )
    if base != own:
        raise UserError(
            f"{folder} holds an adapter of the policy {base}, and this one is {own}. Load the one it is of."
        )


@contextmanager
def quiet() -> Generator[None]:
    """No bars for files of a moment, and no word on an attribute that peft 0.21 reads and transformers has renamed."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()
