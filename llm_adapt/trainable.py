"""What of a policy is trained when it is fine-tuned: an adapter, a prompt, its head, or all of it.

A tuned policy plays and learns as it is; the base that it is a copy of stays as it was. In files it is peft's adapter,
or where base weights themselves have moved (``full``, ``head``) a whole policy in the folder ``tuned``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import peft
from torch import nn

from bridge.config import Bounded, Width
from bridge.errors import UserError
from bridge.training.learner import seeded_init
from llm_adapt import adapter_files, soft_prompt
from llm_adapt.base_policy import check_base, fingerprint, quiet, read
from llm_adapt.local_files import ADAPTER_WEIGHTS
from llm_adapt.low_rank import BatchedLora, targets_of
from llm_adapt.policy import TransformerPolicy

Kind = Literal["lora", "full", "head", "ia3", "prompt"]

_WHOLE = "tuned"
"""The folder of a policy whose base weights have moved."""
_IA3 = {"gpt2": ("c_attn", "mlp.c_proj")}
"""What (IA)³ scales unless told; of others: keys, values and what a feed-forward layer ends with."""
_FEEDFORWARD = ("down_proj", "c_proj")
"""Ends of the modules whose inputs (IA)³ scales, not their outputs."""


_READ: dict[Kind, set[str]] = {
    "lora": {"rank", "alpha", "targets"},
    "ia3": {"targets"},
    "prompt": {"rank"},
    "head": set(),
    "full": set(),
}
"""Which settings a tuner reads."""


@dataclass(frozen=True, kw_only=True)
class Trainable(Bounded):
    """Which weights are trained."""

    tuner: Kind = "lora"
    """lora (Hu et al. 2021) and ia3 (Liu et al. 2022): adapters of peft; prompt (Lester et al. 2021): vectors read
    before every trial; head: the distribution of actions alone; full: everything."""
    rank: Width = 8
    """r of lora; how many vectors a prompt has."""
    alpha: int = 16
    """What lora's updates are multiplied by, times r."""
    targets: str = ""
    """Ends of the names of the modules that are adapted, joined by +: q_proj+v_proj; empty: as published."""

    def __post_init__(self) -> None:
        self.check_numbers("1 or more", "rank", "alpha")
        asked = {
            field.name for field in fields(Trainable) if getattr(self, field.name) != field.default
        } - {"tuner"}
        if idle := asked - _READ[self.tuner]:
            raise UserError(
                f"{', '.join(sorted(idle))}: not for {self.tuner}. Leave it out, or take another tuner."
            )

    def begin(self, base: TransformerPolicy, *, seed: int) -> Finetuned:
        """A copy of ``base`` that can be trained, and before it was says the same, but where a prompt is read.

        Raises:
            UserError: a target that the backbone does not have, or a rank that does not fit it.
        """
        if self.tuner == "prompt":
            tuned = Finetuned(soft_prompt.new(base, self.rank, seed=seed), base)
            for name, weights in tuned.policy.named_parameters():
                weights.requires_grad_(name == "prompt")
            return tuned
        policy = copy.deepcopy(base)
        if self.tuner in ("full", "head"):
            for name, weights in policy.named_parameters():
                said = not name.startswith("critic.")  # a value that nobody asks for
                weights.requires_grad_(said and (self.tuner == "full" or name.startswith("actor.")))
            return Finetuned(policy, base)
        config = self._in_peft(policy)
        with seeded_init(seed), quiet():
            return Finetuned(policy, base, peft.get_peft_model(policy, config))

    def _in_peft(self, policy: TransformerPolicy) -> peft.PeftConfig:
        kind = policy.config.backbone_config.model_type
        named = tuple(self.targets.split("+")) if self.targets else ()
        if self.tuner == "lora":
            targets = named or targets_of(policy)
            return BatchedLora(rank=self.rank, alpha=self.alpha, targets=targets).in_peft(policy)
        targets = named or _IA3.get(kind, ("k_proj", "v_proj", "down_proj"))
        BatchedLora(rank=1, targets=targets).modules(policy)  # refused by name where there are none
        return peft.IA3Config(
            target_modules=list(targets),
            feedforward_modules=[t for t in targets if t.endswith(_FEEDFORWARD)],
            fan_in_fan_out=kind == "gpt2",
        )


class Finetuned:
    """A policy that is being tuned."""

    def __init__(
        self,
        policy: TransformerPolicy,
        base: TransformerPolicy,
        wrapped: peft.PeftModel | None = None,
    ) -> None:
        self.policy, self.base, self.wrapped = policy, base, wrapped

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {
            name: weights
            for name, weights in self.policy.named_parameters()
            if weights.requires_grad
        }

    def save(self, folder: Path) -> None:
        """What ``load`` reads; of an adapter it is peft's files, of which the base is no part."""
        with quiet():
            if isinstance(self.policy, soft_prompt.Prompted):
                soft_prompt.save(self.policy, self.base, folder)
            elif self.wrapped is None:
                self.policy.save_pretrained(folder / _WHOLE)
            else:
                self.wrapped.peft_config["default"].base_model_name_or_path = fingerprint(self.base)
                self.wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def is_saved(folder: Path) -> bool:
    """Whether a folder holds what ``Finetuned.save`` writes."""
    return (folder / ADAPTER_WEIGHTS).is_file() or (folder / _WHOLE).is_dir()


def load(base: TransformerPolicy, folder: Path) -> TransformerPolicy:
    """The policy that ``Finetuned.save`` has written, adapters merged into its weights; ``base`` stays as it is.

    Raises:
        UserError: it cannot be read, or was tuned from another base.
    """
    if (folder / _WHOLE).is_dir():
        return read(folder / _WHOLE)
    config, weights = adapter_files.read(folder)
    check_base(config, base, folder)
    if isinstance(config, peft.PromptTuningConfig):
        return soft_prompt.load(base, folder)
    try:
        with seeded_init(0), quiet():  # new weights are replaced at once
            wrapped = peft.PeftModel.from_pretrained(
                copy.deepcopy(base), str(folder), config=config
            )
            needed = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        if odd := weights.keys() ^ needed.keys():
            raise ValueError(
                f"its weights are not those of the modules that it names: {sorted(odd)[0]}"
            )
        return wrapped.merge_and_unload()
    except Exception as error:  # of any of the libraries that take part
        raise UserError(
            f"{folder} holds no tuned policy that can be read ({error}). Fine-tune it again."
        ) from error
