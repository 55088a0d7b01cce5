"""A transformer policy: a causal decoder over one token a step, with a distribution of actions and a value as outputs.

It is an ordinary model of transformers: ``save_pretrained``, ``from_pretrained``, ``AutoModel`` and adapters work.
After ``import llm_adapt.policy``, ``AutoModel.from_pretrained`` also opens run folders (``llm_adapt/run_policy.py``).
``forward`` reads whole trials at once, in training; ``read`` reads one more token of each row at play, from a cache.
Both give the same outputs, to rounding.

The context is a sliding window, in training as at play: in every layer a token attends to itself and to the window - 1
tokens before it. A cache holds no more than those. With rotary positions only distances count, and a trial may have any
length; learned positions (GPT-2) are limited, and longer trials are refused.

Rows of different lengths are padded at their ends, to which nothing else attends.

Shape letters: B trials, T tokens, D features of a token, H width of the decoder, A distribution parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers import initialization as init

from bridge import spaces
from bridge.config import Bounded, Depth, ReadIf, Width
from bridge.errors import ContractError, UserError, unknown
from bridge.tasks.base import Box, Discrete, Space, TaskFamily
from llm_adapt import backbones, run_policy
from llm_adapt.attention import Past, check_attention, visible
from llm_adapt.cache import Cache, Entry, extend
from llm_adapt.run_policy import RunPolicy
from llm_adapt.tokens import Layout

Tokens = Float[Tensor, "B T D"]
"""The features of tokens."""

Hidden = Float[Tensor, "B T H"]
"""Inputs or hidden states of the decoder at tokens."""


class TransformerPolicyConfig(PreTrainedConfig):
    """A decoder, the spaces of observations and actions, and a window."""

    model_type = "metabridge_policy"

    def __init__(
        self,
        *,
        backbone_config: PreTrainedConfig | dict[str, Any],
        observation: dict[str, Any],
        action: dict[str, Any],
        distribution: spaces.Distribution = "beta",
        window: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a config from fields as JSON has them.

        Args:
            backbone_config: of the decoder.
            observation: the fields of a ``Discrete`` or a ``Box``.
            action: the fields of a ``Discrete`` or a ``Box``.
            distribution: of actions in a box.
            window: tokens that a token attends to, itself included; None: as many as the backbone's positions allow.
            kwargs: the fields of every config of transformers.
        """
        if isinstance(backbone_config, dict):
            backbone_config = backbones.read_config(backbone_config)
        self.backbone_config, self.observation, self.action = backbone_config, observation, action
        self.distribution: spaces.Distribution = distribution
        self.window = window
        self.check()
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers; the fields may also be those of a run folder's ``config.json``."""
        return super().from_dict(run_policy.fields(config_dict), **kwargs)

    def check(self) -> None:
        """Refuse impossible fields. A window of None becomes as many tokens as the positions allow.

        A policy calls it again, since ``from_pretrained(FOLDER, window=1)`` sets fields after a config is made.

        Raises:
            UserError: a field has an impossible value.
        """
        backbones.check(self.backbone_config)
        for fields in (self.observation, self.action):
            _space(fields)
        if self.distribution not in get_args(spaces.Distribution):
            raise unknown(
                "distribution of actions", str(self.distribution), get_args(spaces.Distribution)
            )
        reach = backbones.reach(self.backbone_config)
        if self.window is None:
            self.window = reach
        if type(self.window) is not int or not 2 <= self.window <= reach:
            raise UserError(
                f"A window needs 2 to {reach} tokens here, as many as the backbone's positions allow; found "
                f"{self.window!r}. Choose one of these, or give the backbone more positions."
            )


class Output(NamedTuple):
    """The outputs of a policy at each token."""

    out: Float[Tensor, "*batch A"]
    """Parameters of the distribution of the next action (``TransformerPolicy.actions``)."""
    value: Float[Tensor, "*batch"]


class Reading(NamedTuple):
    """The outputs of a policy at one more token of each row, and the token's keys and values for the cache."""

    out: Float[Tensor, "B A"]
    value: Float[Tensor, " B"]
    entry: Entry


class TransformerPolicy(RunPolicy):
    """From tokens to distributions of actions and values."""

    config_class = TransformerPolicyConfig
    main_input_name = "tokens"

    def __init__(self, config: TransformerPolicyConfig) -> None:
        config.check()
        super().__init__(config)
        self.layout = Layout(_space(config.observation), _space(config.action))
        self.embed = nn.Linear(self.layout.width, config.backbone_config.hidden_size)
        self.backbone = backbones.make(config.backbone_config)
        outputs = spaces.actions(self.layout.action, config.distribution).outputs
        self.actor = nn.Linear(config.backbone_config.hidden_size, outputs)
        self.critic = nn.Linear(config.backbone_config.hidden_size, 1)
        self.post_init()

    def set_attn_implementation(self, attn_implementation: str | dict, *_: Any, **__: Any) -> None:
        """Refuse all implementations but ``metabridge``, which every policy has: outputs would not be the same.

        Raises:
            UserError: another one is given.
        """
        check_attention(attn_implementation)

    @cached_property
    def actions(self) -> spaces.Actions:
        """The distributions that ``out`` parametrises."""
        return spaces.actions(self.layout.action, self.config.distribution)

    def forward(self, tokens: Tokens) -> Output:
        """The outputs at every token of B trials, given the tokens before it.

        Raises:
            UserError: the trials are longer than learned positions allow, here and in ``new_cache`` and ``read``.
        """
        return self._outputs(self.hidden(tokens))

    def hidden(self, tokens: Tokens) -> Hidden:
        """The decoder's last hidden state at every token, from which ``actor`` and ``critic`` compute the outputs."""
        self._check_span(tokens.shape[1])
        return self._decode(self._embedded(tokens))

    def new_cache(self, rows: int, span: int) -> Cache:
        """An empty cache for trials of at most ``span`` tokens, with room for all of them or for a window."""
        self._check_span(span)
        layers, heads, size = backbones.keys_shape(self.config.backbone_config)
        shape = (rows, heads, min(span, self.config.window - 1), size)
        weight = self.embed.weight
        keys, values = (tuple(weight.new_zeros(shape) for _ in range(layers)) for _ in range(2))
        return Cache(keys, values, torch.zeros(rows, dtype=torch.int64, device=weight.device))

    @torch.no_grad()
    def read(self, token: Float[Tensor, "B D"], cache: Cache) -> Reading:
        """The outputs at one more token of each row. The cache does not change; ``entry`` can be written into it.

        Raises:
            ContractError: the cache was made for shorter trials, and no longer holds all of the window.
        """
        hidden, entry = self._decode_after(token[:, None], cache)
        out, value = self._outputs(hidden[:, 0])
        return Reading(out, value, Entry(*(tuple(x[:, :, 0] for x in layers) for layers in entry)))

    @torch.no_grad()
    def hidden_next(self, token: Float[Tensor, "B D"], cache: Cache) -> Float[Tensor, "B H"]:
        """The decoder's last hidden state at one more token of each row. The cache does not change.

        Raises:
            ContractError: as ``read``.
        """
        return self._decode_after(token[:, None], cache)[0][:, 0]

    @torch.no_grad()
    def absorb(self, tokens: Tokens, cache: Cache, count: Int[Tensor, " B"] | None = None) -> Cache:
        """Read the first ``count`` tokens of each row (None: all) and write them into the cache, in one pass, in place.

        Equal to ``count`` times ``read`` and ``write``.
        """
        _, entry = self._decode_after(tokens, cache)
        if count is None:
            count = torch.full_like(cache.length, tokens.shape[1])
        return extend(cache, entry, count)

    def _decode_after(self, tokens: Tokens, cache: Cache) -> tuple[Hidden, Entry]:
        """Hidden states of new tokens after those in a cache, and their keys and values.

        The length check leaves the new tokens out: some may be padding, or of rows whose trials have ended.
        """
        past, window = Past(cache), self.config.window
        if past.longest > cache.capacity < window - 1:
            raise ContractError(
                f"A cache for trials of {cache.capacity} tokens was given {past.longest} and lost the first, though "
                f"the window is {window}. Give new_cache the whole span of a trial."
            )
        self._check_span(past.longest)
        return self._decode(self._embedded(tokens), past), past.entry

    def _embedded(self, tokens: Tokens) -> Hidden:
        return self.embed(tokens.to(self.embed.weight.dtype))

    def _decode(self, embedded: Hidden, past: Past | None = None) -> Hidden:
        # a user may have changed it on the decoder itself
        check_attention(self.backbone.config._attn_implementation)
        steps, device = embedded.shape[1], embedded.device
        position = torch.arange(steps, device=device)[None]
        if past is not None:
            position = past.start[:, None] + position
        last = backbones.last_position(self.config.backbone_config)
        if last is not None:
            position = position.clamp(max=last).expand(len(embedded), -1)
        mask = visible(steps, self.config.window, past, device)
        return self.backbone(
            inputs_embeds=embedded,
            attention_mask=None if mask is None else mask[:, None],
            position_ids=position,
            use_cache=False,
            past=past,
        ).last_hidden_state

    def _outputs(self, hidden: Float[Tensor, "*batch H"]) -> Output:
        return Output(self.actor(hidden), self.critic(hidden).squeeze(-1))

    def _check_span(self, span: int) -> None:
        last = backbones.last_position(self.config.backbone_config)
        if last is not None and span > last + 1:
            raise UserError(
                f"A {self.config.backbone_config.model_type} backbone has {last + 1} learned positions; this trial has "
                f"{span} steps. Give it more positions, or choose one with rotary positions (llama)."
            )

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise as RL² does: actions are nearly uniform at first."""
        if isinstance(module, nn.Linear):
            if module is self.actor:
                init.orthogonal_(module.weight, 0.01)
            else:
                init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)


def build(
    backbone: str,
    observation: Space,
    action: Space,
    *,
    hidden: int = 64,
    layers: int = 3,
    heads: int = 4,
    window: int | None = None,
    positions: int = 1024,
    distribution: spaces.Distribution = "beta",
) -> TransformerPolicy:
    """A policy between two spaces; new weights are drawn from torch's own generator.

    Args:
        backbone: one of ``BACKBONES``, or a local folder of pretrained weights.
        observation: the space of observations.
        action: the space of actions.
        hidden: width of a new backbone. (A folder has its own sizes: hidden, layers, heads and positions.)
        layers: number of layers.
        heads: attention heads of each layer.
        window: tokens that a token attends to, itself included; None: as many as the backbone's positions allow.
        positions: the longest window; with learned positions (GPT-2) the longest trial, too.
        distribution: of actions in a box.

    Raises:
        UserError: the sizes do not fit one another, or the folder cannot be used.
    """
    if backbone in backbones.BACKBONES:
        weights = None
        decoder = backbones.new_config(
            backbone, hidden=hidden, layers=layers, heads=heads, positions=positions
        )
    else:
        decoder, weights = backbones.load(backbone)
    policy = TransformerPolicy(
        TransformerPolicyConfig(
            backbone_config=decoder,
            observation=asdict(observation),
            action=asdict(action),
            window=window,
            distribution=distribution,
        )
    )
    if weights is not None:
        policy.backbone.load_state_dict(weights)
    return policy


@dataclass(frozen=True, kw_only=True)
class Decoder(Bounded):
    """The policy of a method of this track: the first fields of its ``Config``."""

    backbone: str = "llama"
    """A new decoder of this kind, or a local folder of pretrained weights."""
    hidden: Width = 64
    """Width of a new decoder."""
    layers: Depth = 3
    """Number of its layers."""
    heads: Depth = 4
    """Attention heads of each layer."""
    window: int = 256
    """Steps that a token attends to, its own included, in training and at test."""
    distribution: spaces.Distribution = "beta"
    """Of actions in a box: ``beta`` or ``clipped_gaussian``."""

    legacy_defaults: ClassVar[Mapping[str, Any]] = {"distribution": "beta"}
    read_if: ClassVar[ReadIf] = dict.fromkeys(
        ("hidden", "layers", "heads"), ("backbone", tuple(backbones.BACKBONES))
    )

    def policy(self, family: TaskFamily) -> TransformerPolicy:
        """A policy for a family, made by ``build``; learned positions are as many as the window has tokens."""
        return build(
            self.backbone,
            family.observation,
            family.action,
            hidden=self.hidden,
            layers=self.layers,
            heads=self.heads,
            window=self.window,
            positions=self.window,
            distribution=self.distribution,
        )


def _space(fields: Any) -> Space:
    """A space from its fields, as JSON has them.

    Raises:
        UserError: they are not the fields of a space.
    """
    match fields:
        case {"n": int(n)} if n >= 1 and len(fields) == 1:
            return Discrete(n)
        case {"low": [*low], "high": [*high]} if len(low) == len(high) > 0 and len(fields) == 2:
            if all(_finite(a) and _finite(b) and a < b for a, b in zip(low, high, strict=True)):
                return Box(tuple(low), tuple(high))
    raise UserError(
        'A space is {"n": 3}, of 1 or more actions or states, or {"low": [-1.0], "high": [1.0]}, as many finite bounds '
        f"below as above; found {fields!r}."
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


AutoConfig.register(TransformerPolicyConfig.model_type, TransformerPolicyConfig)
AutoModel.register(TransformerPolicyConfig, TransformerPolicy)
