"""The rules for an agent's draws: they follow its decisions' distributions, and their noise contains no information.

Both are statistical tests. An agent that keeps the rule fails with a probability of at most ``FALSE_ALARM``, with any
number of trials: the bounds are not asymptotic. They are the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart
(1990) for the first rule, and that of Hoeffding (1963) for sums of random signs for the second.

Shape letters: B trials, A actions, D sides of a box, M decisions.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from scipy import special, stats
from torch import Tensor

from bridge import memory as tree
from bridge import spaces
from bridge.conformance.probe import AgentProbe, Episodes, Moment, Sitting, agent_rule, play
from bridge.conformance.rules import demand
from bridge.noise import TrialNoise
from bridge.rng import Rows
from bridge.tasks.base import row_entries

FALSE_ALARM = 1e-6
"""The probability that an agent that keeps one of these rules fails it."""
_DRAWN, _PAID = 1024, 256
"""Trials whose draws are tested, and whose returns."""
_BYTES = 8 << 20
"""Limit on the size of all memories: agents with large memories play fewer trials, so that the test is weaker."""
_BYTES_OUTSIDE = 1 << 30
"""The same limit for the environments that a family keeps outside of tensors, one a row."""
_ROUNDED = 1e-4
"""Distance from a side of the box, in half widths, below which float32 merges draws squashed by a tanh."""


# --- distributions ----------------------------------------------------------------------------------------------------


@agent_rule
def actions_match_decisions(probe: AgentProbe) -> None:
    """Actions are drawn from the decision's logits or params, by the card's decode_rule (softmax of the logits for
    sample, of the logits over a temperature, or the highest logit for argmax)."""
    if probe.agent.card.decode_rule == "rule":
        return
    temperature = probe.agent.card.temperature
    moments, _ = _played(probe, _DRAWN)
    if not temperature:
        for moment in moments:
            _is_the_likeliest(moment)
        return
    places = (_places(probe, moment, temperature) for moment in moments)
    known = [place for place in places if place is not None]
    if not known:
        return
    by_likelihood, by_number = torch.cat(known, 1)
    for found, what in ((by_likelihood, "by likelihood"), (by_number, "by number")):
        distance, allowed = off_uniform(found), allowed_distance(found.numel())
        demand(
            distance <= allowed,
            expected=f"{found.numel():,} actions within {allowed:.3f} of the decision's probabilities, summed over "
            f"actions {what}",
            found=f"{distance:.3f}",
            remedy="Draw with rng.categorical(softmax(logits / temperature)), or set the card's decode_rule, and "
            "return the logits of the draw.",
        )


def off_uniform(found: Float[Tensor, " M"]) -> float:
    """The Kolmogorov-Smirnov distance between numbers in (0, 1) and the uniform distribution."""
    return float(stats.ks_1samp(found.numpy(), stats.uniform.cdf, method="asymp").statistic)


def allowed_distance(count: int, rate: float = FALSE_ALARM) -> float:
    """The threshold that ``off_uniform`` of ``count`` uniform numbers exceeds, in one of two orders, at ``rate``."""
    return math.sqrt(math.log(4 / rate) / (2 * count))


def _is_the_likeliest(moment: Moment) -> None:
    logits, action = moment.decision.logits, moment.decision.action
    if logits is None:
        return
    top, taken = logits.amax(-1), row_entries(logits, action)
    demand(
        taken >= top - 1e-5 * top.abs().clamp(min=1.0),
        expected="the action of the highest logit",
        found=action,
        remedy='Take logits.argmax(-1), or set decode_rule="sample".',
        episode=moment.episode,
        step=moment.step,
    )


def _places(probe: AgentProbe, moment: Moment, temperature: float) -> Float[Tensor, "2 M"] | None:
    """The place of each action among all possible ones, in (0, 1); uniform if it was drawn from the decision.

    It is the probability of the actions before it plus a random share of its own, in two orders (by likelihood and by
    number; sides of a box have one order). None if the distribution is unknown.
    """
    decision = moment.decision
    rows = Rows.of("conformance/shares", torch.arange(len(decision.action)))
    share = rows.at(moment.episode, moment.step)
    if decision.logits is not None:
        chance = (decision.logits.double() / temperature).softmax(-1)
        taken = chance.gather(-1, decision.action[:, None])
        lower = torch.arange(chance.shape[-1]) < decision.action[:, None]
        likelier = (chance > taken) | ((chance == taken) & lower)
        before = torch.stack([(chance * order).sum(-1) for order in (likelier, lower)])
        return before + share.uniform(dtype=torch.float64) * taken.squeeze(-1)
    actions: Any = getattr(probe.agent, "actions", None)
    known = (spaces.ScaledBeta, spaces.ClippedGaussian, spaces.SquashedGaussian)
    if decision.params is None or type(actions) not in known:
        return None
    half = (actions.high - actions.low).double() / 2
    side = ((decision.action.double() - actions.low) / half - 1).clamp(-1, 1)
    params = decision.params.double().movedim(-1, 0)
    below, up_to = _chances(type(actions), params, side, temperature)
    random = share.uniform(side.shape[-1], dtype=torch.float64)
    found = (below + random * (up_to - below)).flatten()
    return torch.stack([found, found])


def _chances(
    kind: type, params: Float[Tensor, "2 B D"], side: Float[Tensor, "B D"], temperature: float
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """The probabilities of less than an action, each side in [-1, 1], and of at most this action.

    They differ only at bounds of Gaussians: all values at an edge or beyond it are one, as they are clipped or rounded.
    """
    if kind is spaces.ScaledBeta:
        a, b = 1 + (params.numpy() - 1) / temperature
        below = torch.from_numpy(special.betainc(a, b, (1 + side.numpy()) / 2))
        return below, below
    mean, log_sd = params
    squashed = kind is spaces.SquashedGaussian
    edge = 1 - _ROUNDED if squashed else 1.0
    value = side.clamp(-edge, edge).atanh() if squashed else side
    chance = torch.special.ndtr((value - mean) / (log_sd.exp() * temperature**0.5))
    return torch.where(side <= -edge, 0.0, chance), torch.where(side >= edge, 1.0, chance)


# --- noise ------------------------------------------------------------------------------------------------------------


@agent_rule
def noise_foretells_nothing(probe: AgentProbe) -> None:
    """An agent's noise has no information about its task or its environment's noise: with that of other trials its
    mean return is the same."""
    own, others = (_returns(_played(probe, _PAID, first)[1]) for first in (0, _PAID))
    lead = (own - others).double()
    allowed = allowed_sum(lead) / len(lead)
    demand(
        float(lead.mean()) <= allowed,
        expected=f"a mean return within {allowed:.3g} of {float(others.mean()):.4g}, its mean return with noise of "
        "other trials",
        found=f"{float(own.mean()):.4g} with its own",
        remedy="Draw from the rng that each verb is given, and read nothing else in it: neither its key nor a seed.",
    )


def allowed_sum(lead: Float[Tensor, " B"], rate: float = FALSE_ALARM) -> float:
    """A bound that a sum of numbers of this size with random signs exceeds with probability ``rate`` at most."""
    return math.sqrt(2 * math.log(1 / rate) * float(lead.square().sum()))


def _returns(episodes: Episodes) -> Float[Tensor, " B"]:
    """The return of each trial."""
    return torch.stack([step.reward for steps in episodes for step in steps]).sum(0)


# --- many trials ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _played(probe: AgentProbe, trials: int, first: int = 0) -> tuple[list[Moment], Episodes]:
    """At most ``trials`` trials, as many as fit, played as in an evaluation with seed 0.

    The agent has the noise of the trials from ``first`` on.
    """
    pair = tree.leaves(Sitting(replace(probe, rows=2)).memory)
    row_bytes = sum(leaf.nbytes for leaf in pair) // 2 + 1
    fit = min(_BYTES // row_bytes, _BYTES_OUTSIDE // max(1, probe.family.bytes_a_row))
    many = replace(probe, rows=max(16, min(trials, fit)))
    ids = torch.arange(many.rows)
    noise = TrialNoise(TrialNoise.of(0, ids).env, TrialNoise.of(0, first + ids).agent)
    return play(Sitting(many, noise=noise))
