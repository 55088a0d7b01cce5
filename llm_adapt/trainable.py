"""The weights of a policy that are fine-tuned: an adapter, a prompt, its head, or all of them.

A fine-tuned policy is a copy of its base, which does not change. In files it is peft's adapter, or, if base weights
themselves are trained (``full``, ``head``), a whole policy in the folder ``tuned``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import peft
from torch import nn

from bridge.config import Bounded, Count, Width
from bridge.errors import UserError
from bridge.training.learner import seeded_init
from llm_adapt import adapter_files, soft_prompt
from llm_adapt.base_policy import check_base, fingerprint, quiet, read
from llm_adapt.local_files import WHOLE
from llm_adapt.low_rank import batched
from llm_adapt.policy import TransformerPolicy

Kind = Literal["lora", "full", "head", "ia3", "prompt"]

_IA3, _IA3_GPT2 = "k_proj+v_proj+down_proj", "c_attn+mlp.c_proj"
"""Default targets of (IA)³: keys, values and the last product of a feed-forward layer; in GPT-2 queries, too."""
_FEEDFORWARD = ("down_proj", "c_proj")
"""Ends of the names of modules of which (IA)³ scales the inputs, not the outputs."""


_READ: dict[Kind, set[str]] = {
    "lora": {"rank", "alpha", "targets"},
    "ia3": {"targets"},
    "prompt": {"rank"},
    "head": set(),
    "full": set(),
}
"""Settings that a tuner reads."""


@dataclass(frozen=True, kw_only=True)
class Trainable(Bounded):
    """The weights that are trained."""

    tuner: Kind = "lora"
    """lora (Hu et al. 2021) and ia3 (Liu et al. 2022): adapters of peft; prompt (Lester et al. 2021): vectors read
    before every trial; head: the distribution of actions alone; full: everything."""
    rank: Width = 8
    """r of lora; the number of vectors of a prompt."""
    alpha: Count = 16
    """Scale of lora's updates, times r."""
    targets: str = ""
    """Ends of the names of the modules that are adapted, joined by +: q_proj+v_proj; empty: as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        changed = {
            field.name for field in fields(Trainable) if getattr(self, field.name) != field.default
        }
        if idle := changed - {"tuner"} - _READ[self.tuner]:
            raise UserError(
                f"{', '.join(sorted(idle))}: not for {self.tuner}. Leave it out, or choose another tuner."
            )

    def begin(self, base: TransformerPolicy, *, seed: int) -> Finetuned:
        """A copy of ``base`` for training. Its outputs are equal to the base's at first, unless it reads a prompt.

        Raises:
            UserError: the backbone has no such target, or the rank does not fit it.
        """
        if self.tuner in ("lora", "ia3"):
            policy = copy.deepcopy(base)
            config = self._in_peft(policy)
            with seeded_init(seed), quiet():
                return Finetuned(policy, base, peft.get_peft_model(policy, config))
        prompted = self.tuner == "prompt"
        policy = soft_prompt.new(base, self.rank, seed=seed) if prompted else copy.deepcopy(base)
        trained = {"prompt": "prompt", "head": "actor.", "full": ""}[self.tuner]
        for name, weights in policy.named_parameters():
            used = not name.startswith("critic.")  # nothing reads the policy's own value
            weights.requires_grad_(used and name.startswith(trained))
        return Finetuned(policy, base)

    def _in_peft(self, policy: TransformerPolicy) -> peft.PeftConfig:
        if self.tuner == "lora":
            lora = batched(policy, rank=self.rank, alpha=self.alpha, targets=self.targets)
            return lora.in_peft(policy)
        gpt2 = policy.config.backbone_config.model_type == "gpt2"
        named = self.targets or (_IA3_GPT2 if gpt2 else _IA3)
        targets = batched(policy, rank=1, alpha=1, targets=named).targets  # refuses unknown ones
        return peft.IA3Config(
            target_modules=list(targets),
            feedforward_modules=[t for t in targets if t.endswith(_FEEDFORWARD)],
            fan_in_fan_out=gpt2,
        )


class Finetuned:
    """A policy that is being fine-tuned.

    Args:
        policy: the copy that is trained.
        base: the policy that it is a copy of.
        wrapped: peft's model around ``policy``, if its adapter is peft's.
    """

    def __init__(
        self,
        policy: TransformerPolicy,
        base: TransformerPolicy,
        wrapped: peft.PeftModel | None = None,
    ) -> None:
        self.policy, self.base, self.wrapped = policy, base, wrapped

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """The trained weights by name."""
        return {
            name: weights
            for name, weights in self.policy.named_parameters()
            if weights.requires_grad
        }

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads. An adapter's files, which are peft's, do not contain the base."""
        with quiet():
            if isinstance(self.policy, soft_prompt.SoftPrompted):
                soft_prompt.save(self.policy, self.base, folder)
            elif self.wrapped is None:
                self.policy.save_pretrained(folder / WHOLE)
            else:
                self.wrapped.peft_config["default"].base_model_name_or_path = fingerprint(self.base)
                self.wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def load(base: TransformerPolicy, folder: Path) -> TransformerPolicy:
    """The policy that ``Finetuned.save`` has written, with adapters merged into a copy of ``base``.

    Raises:
        UserError: it cannot be read, or has another base.
    """
    if (folder / WHOLE).is_dir():
        return read(folder / WHOLE)
    config, weights = adapter_files.read(folder)
    check_base(config, base, folder)
    if isinstance(config, peft.PromptTuningConfig):
        return soft_prompt.load(base, folder)
    try:
        with seeded_init(0), quiet():  # initial weights are replaced at once
            wrapped = peft.PeftModel.from_pretrained(
                copy.deepcopy(base), str(folder), config=config
            )
            needed = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        if odd := weights.keys() ^ needed.keys():
            raise ValueError(
                f"its weights are not those of the modules that it names: {sorted(odd)[0]}"
            )
        return wrapped.merge_and_unload()
    except Exception as error:  # from any of the libraries involved
        raise UserError(
            f"{folder} holds no fine-tuned policy that can be read ({error}). Fine-tune it again."
        ) from error
