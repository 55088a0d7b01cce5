"""The policy in a run folder, as transformers reads it: its type and fields from ``config.json``, its weights from the
last checkpoint, so that no file of a run is kept twice.

A ``config.json`` has two keys for this, ``model_type`` and ``policy``; all others are of the run. A run that was begun
before they were there has none of them, and is opened by ``metabridge`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from bridge import files
from bridge.errors import UserError
from bridge.training import run_folder

_POLICY, _BASE = "policy", "base"
"""Parts of a learner and of its state: a policy, or the learner that trains it. The first is also the key of the
policy's fields in a ``config.json``."""


class RunPolicy(PreTrainedModel):
    """A model that ``from_pretrained`` also reads from a run folder."""

    @classmethod
    def from_pretrained(cls, place: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """As transformers. Of a run folder, it returns the policy with which the run is played, in float32.

        Raises:
            UserError: the run has no checkpoint yet, or cannot be read.
        """
        if not _is_run(place):
            return super().from_pretrained(place, *args, config=config, **kwargs)
        if config is None:
            assert cls.config_class is not None
            config, kwargs = cls.config_class.from_pretrained(
                place, return_unused_kwargs=True, **kwargs
            )
        found: Any = super().from_pretrained(
            None, *args, config=config, state_dict=_weights(Path(place)), **kwargs
        )
        model = found[0] if isinstance(found, tuple) else found  # with output_loading_info
        model.name_or_path = model.config.name_or_path = str(place)
        return found


def describe(learner: Any) -> dict[str, Any]:
    """The two keys for the policy that a learner trains; none if its agent is not made of such a policy."""
    while not hasattr(learner, _POLICY) and hasattr(learner, _BASE):
        learner = getattr(learner, _BASE)
    policy = getattr(learner, _POLICY, None)
    if not isinstance(policy, RunPolicy):
        return {}
    own = json.loads(policy.config.to_json_string()) | {"dtype": "float32"}
    return {"model_type": policy.config.model_type, _POLICY: own}


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a policy's config in a ``config.json``, that of a run or the policy's own."""
    return dict(config.get(_POLICY, config))


def _is_run(place: Any) -> bool:
    """True if ``place`` is a run folder whose ``config.json`` has the fields of a policy."""
    if not (Path(place or "") / "config.json").is_file():
        return False
    config, _ = PreTrainedConfig.get_config_dict(place)
    return _POLICY in config


def _weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the policy in a run folder by name, those with which the run is played.

    Raises:
        UserError: it has none yet, or they cannot be read.
    """
    saved = run_folder.last_state(folder, files.say)
    if saved is None:
        raise UserError(
            f"{folder} has no checkpoint to open. Train it: metabridge train ... --out {folder} --resume"
        )
    state = saved["learner"]
    while _POLICY not in state and _BASE in state:
        state = state[_BASE]
    if _POLICY not in state:
        raise UserError(
            f"{folder} was written by another version of its method (its state has no policy). Train it again."
        )
    return state[_POLICY]
