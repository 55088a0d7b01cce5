"""The rules for what an agent draws: from what it says, and by noise that tells it nothing.

Both are tests of chance. An agent that keeps the rule fails one of them with a probability of at most ``FALSE_ALARM``,
whatever it is and however few trials are played: the bounds hold exactly, not for many trials alone. They are the
inequality of Dvoretzky, Kiefer, Wolfowitz and Massart (1990) for the rule of decisions, and that of Hoeffding (1963)
for sums of random signs for the other.

Shape letters: B trials, A actions, D sides of a box, M decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from bridge import memory as tree
from bridge import spaces
from bridge.conformance.probe import AgentProbe, Episodes, Moment, Sitting, agent_rule, play
from bridge.conformance.rules import demand
from bridge.noise import TrialNoise
from bridge.rng import Rows

FALSE_ALARM = 1e-6
"""The probability that an agent that keeps one of these rules is said to break it."""
_DRAWN, _PAID = 1024, 256
"""Trials whose draws are looked at, and whose returns."""
_BYTES = 8 << 20
"""Of memories: agents that remember much play fewer trials, and are looked at less closely."""
_ROUNDED = 1e-4
"""So near to a side of the box, in half widths, float32 does not tell draws apart that a tanh has squashed."""


# --- from what an agent says ------------------------------------------------------------------------------------------


@agent_rule
def actions_are_drawn_as_said(probe: AgentProbe) -> None:
    """Actions are drawn from what the decision gives as logits or params, by the card's decode_rule (softmax of the
    logits for sample, of the logits over a temperature, or the highest logit for argmax)."""
    if probe.agent.card.decode_rule == "rule":
        return
    temperature = probe.agent.card.temperature
    moments, _ = _played(probe, _DRAWN)
    if not temperature:
        for moment in moments:
            _is_the_likeliest(moment)
        return
    places = [
        place for moment in moments if (place := _places(probe, moment, temperature)) is not None
    ]
    if not places:
        return
    for found, what in zip(
        torch.cat(places, 1), ("by how likely they are", "as they are numbered"), strict=True
    ):
        distance, allowed = off_uniform(found), allowed_distance(found.numel())
        demand(
            distance <= allowed,
            expected=f"{found.numel():,} actions within {allowed:.3f} of the probabilities said, summed over actions "
            f"{what}",
            found=f"{distance:.3f}",
            remedy="Draw with rng.categorical(softmax(logits / temperature)), or say on the card how else "
            "(decode_rule), and return the logits that were drawn from.",
        )


def off_uniform(found: Float[Tensor, " M"]) -> float:
    """The largest distance between the share of numbers below any x and x itself."""
    ordered, rank = found.sort().values, torch.arange(found.numel(), dtype=found.dtype)
    return float(
        torch.maximum(ordered - rank / found.numel(), (rank + 1) / found.numel() - ordered).max()
    )


def allowed_distance(count: int, rate: float = FALSE_ALARM) -> float:
    """The threshold that ``off_uniform`` of so many uniform numbers exceeds, in either of two orders, at ``rate``."""
    return math.sqrt(math.log(4 / rate) / (2 * count))


def _is_the_likeliest(moment: Moment) -> None:
    logits, action = moment.decision.logits, moment.decision.action
    if logits is None:
        return
    top, taken = logits.amax(-1), logits.gather(-1, action[:, None]).squeeze(-1)
    demand(
        taken >= top - 1e-5 * top.abs().clamp(min=1.0),
        expected="the action of the highest logit",
        found=action,
        remedy='Take logits.argmax(-1), or say decode_rule="sample".',
        episode=moment.episode,
        step=moment.step,
    )


def _places(probe: AgentProbe, moment: Moment, temperature: float) -> Float[Tensor, "2 M"] | None:
    """Where each action stands among all that were possible, in (0, 1): uniform, if it was drawn as was said.

    The probability of the actions before it and a random share of its own, in two orders. (Sides of a box have one.)
    """
    decision = moment.decision
    share = Rows.of("conformance/shares", torch.arange(len(decision.action))).at(
        moment.episode, moment.step
    )
    if decision.logits is not None:
        chance = (decision.logits.double() / temperature).softmax(-1)
        taken = chance.gather(-1, decision.action[:, None])
        likelier, number = chance > taken, torch.arange(chance.shape[-1])
        tied_before = (chance == taken) & (number < decision.action[:, None])
        orders = (likelier | tied_before, number < decision.action[:, None])
        before = torch.stack([(chance * order).sum(-1) for order in orders])
        return before + share.uniform(dtype=torch.float64) * taken.squeeze(-1)
    actions: Any = getattr(probe.agent, "actions", None)
    if decision.params is None or type(actions) not in _BELOW:
        return None
    half = (actions.high - actions.low).double() / 2
    side = ((decision.action.double() - actions.low) / half - 1).clamp(-1, 1)
    below, taken = _BELOW[type(actions)](decision.params.double(), side, temperature)
    found = (below + share.uniform(side.shape[-1], dtype=torch.float64) * taken).flatten()
    return torch.stack([found, found])


def _beta(params: Tensor, side: Float[Tensor, "B D"], temperature: float) -> tuple[Tensor, Tensor]:
    a, b = ((1 + (part - 1) / temperature).numpy() for part in params.unbind(-1))
    return torch.from_numpy(
        np.asarray(special.betainc(a, b, (1 + side.numpy()) / 2))
    ), torch.zeros_like(side)


def _clipped(
    params: Tensor, side: Float[Tensor, "B D"], temperature: float
) -> tuple[Tensor, Tensor]:
    return _with_ends(
        lambda value: torch.special.ndtr(_standard(params, value, temperature)), side, 1.0
    )


def _squashed(
    params: Tensor, side: Float[Tensor, "B D"], temperature: float
) -> tuple[Tensor, Tensor]:
    return _with_ends(
        lambda value: torch.special.ndtr(_standard(params, value.atanh(), temperature)),
        side,
        1 - _ROUNDED,
    )


def _with_ends(
    below: Callable[[Tensor], Tensor], side: Float[Tensor, "B D"], edge: float
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """All that lies at an edge or beyond it as one, since it was clipped or rounded."""
    high, low = side >= edge, side <= -edge
    at = below(side.clamp(-edge, edge))
    return torch.where(low, 0.0, at), torch.where(high, 1 - at, torch.where(low, at, 0.0))


def _standard(params: Tensor, value: Tensor, temperature: float) -> Tensor:
    mean, log_sd = params.unbind(-1)
    return (value - mean) / (log_sd.exp() * temperature**0.5)


_BELOW: dict[type, Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]] = {
    spaces.ScaledBeta: _beta,
    spaces.ClippedGaussian: _clipped,
    spaces.SquashedGaussian: _squashed,
}
"""For agents whose ``actions`` says which distribution ``params`` are of: the probability of less than an action, each
side in [-1, 1], and of the action itself (above 0 at bounds alone)."""


# --- by noise that tells nothing --------------------------------------------------------------------------------------


@agent_rule
def noise_foretells_nothing(probe: AgentProbe) -> None:
    """What an agent draws from says nothing of its task and of its environment's noise: with the noise of other trials
    it earns as much."""
    own, others = (_returns(_played(probe, _PAID, first)[1]) for first in (0, _PAID))
    lead = (own - others).double()
    allowed = allowed_sum(lead) / len(lead)
    demand(
        float(lead.mean()) <= allowed,
        expected=f"a mean return within {allowed:.3g} of the {float(others.mean()):.4g} that it earns with noise of "
        "other trials",
        found=f"{float(own.mean()):.4g} with its own",
        remedy="Draw from the rng that each verb is given, and read nothing else in it: neither its key nor a seed.",
    )


def allowed_sum(lead: Float[Tensor, " B"], rate: float = FALSE_ALARM) -> float:
    """What the sum of numbers of this size whose signs are chance exceeds with probability ``rate`` at most."""
    return math.sqrt(2 * math.log(1 / rate) * float(lead.square().sum()))


def _returns(episodes: Episodes) -> Float[Tensor, " B"]:
    """What each trial earned."""
    return torch.stack([step.reward for steps in episodes for step in steps]).sum(0)


# --- many trials ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _played(probe: AgentProbe, trials: int, first: int = 0) -> tuple[list[Moment], Episodes]:
    """More trials (at most ``trials``, and as many as fit), played as an evaluation by seed 0 plays them.

    The agent draws as in the trials from ``first`` on.
    """
    row_bytes = (
        sum(leaf.nbytes for leaf in tree.leaves(Sitting(replace(probe, rows=2)).memory)) // 2 + 1
    )
    many = replace(probe, rows=max(16, min(trials, _BYTES // row_bytes)))
    ids = torch.arange(many.rows)
    return play(
        Sitting(
            many, noise=TrialNoise(TrialNoise.of(0, ids).env, TrialNoise.of(0, first + ids).agent)
        )
    )
