"""Catastrophic interference: what is learned on a later task overwrites what was learned on an earlier one.

A keeper is given the last episodes of every task that ends, and from then on adds a loss to that of the present task.

Shape letters: N slots of a batch (all of one task), E episodes of each, H steps, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call, grad, vmap

from bridge.maths.surrogates import clipped_surrogate
from rl_algos import per_task
from rl_algos.per_task import Episodes, Parameters
from rl_algos.task_table import TaskTable

Keep = Literal["nothing", "ewc", "replay", "distil"]
"""What keeps earlier tasks:

* ``nothing``: plain fine-tuning, one task after another.
* ``ewc``: elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796): weights that mattered to a task are
  drawn back to their values at its end.
* ``replay``: the clipped policy gradient on the last episodes of every earlier task (experience replay; compare Rolnick
  et al. 2019, arXiv 1811.11682).
* ``distil``: the policy at a task's end is cloned on its last episodes, by the likelihood of its actions (policy
  distillation; Rusu et al. 2015, arXiv 1511.06295).
"""
_SAMPLES = 512
"""Steps of an ended task from which the Fisher information is estimated."""


class Keeper:
    """Keeps nothing."""

    def end(self, table: TaskTable[Any], task: Int[Tensor, " N"], episodes: Episodes) -> None:
        """Keep what a task needs, whose training ends here.

        Args:
            table: the policy.
            task: the task of each slot, the same for all but those whose id is hidden.
            episodes: of the policy as it is.
        """

    def loss(self, table: TaskTable[Any]) -> Float[Tensor, ""] | None:
        """Return the sum of losses of all tasks that have ended; None if there are none."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What has been kept."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""


class Ewc(Keeper):
    """Half the squared distance to the weights at each task's end, weighed by that task's Fisher information.

    The sum over tasks is kept as one quadratic (equal up to a constant), so that its cost does not grow with them. The
    Fisher information is the diagonal of the mean outer product of the gradients of the log-probabilities of actions
    that the policy itself drew.
    """

    def __init__(self) -> None:
        self.precision: Parameters = {}
        """Sum of the tasks' Fisher information, by parameter; the shape of the table's parameter."""
        self.pull: Parameters = {}
        """Sum of their products with the weights at the tasks' ends."""

    def end(self, table: TaskTable[Any], task: Int[Tensor, " N"], episodes: Episodes) -> None:
        for name, information in fisher(table, task[:1], episodes).items():
            parameter = table.parameter(name)
            full = torch.zeros_like(parameter)
            if name in table.names:
                full[task[0]] = information
            else:
                full = information
            self.precision[name] = self.precision.get(name, 0.0) + full
            self.pull[name] = self.pull.get(name, 0.0) + full * parameter.detach()

    def loss(self, table: TaskTable[Any]) -> Float[Tensor, ""] | None:
        if not self.precision:
            return None
        terms = [
            (weights * (0.5 * self.precision[name] * weights - self.pull[name])).sum()
            for name in self.precision
            for weights in [table.parameter(name)]
        ]
        return torch.stack(terms).sum()

    def state_dict(self) -> dict[str, Any]:
        """What has been kept."""
        return {"precision": self.precision, "pull": self.pull}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        self.precision, self.pull = dict(state["precision"]), dict(state["pull"])


def fisher(table: TaskTable[Any], task: Int[Tensor, " 1"], episodes: Episodes) -> Parameters:
    """Return the mean squared gradient of the log-probability of an action, by parameter of the task's own policy.

    At most 512 of the played steps are used, evenly spread.
    """
    net = table.net
    live = episodes.live.flatten()
    obs, action = (part.flatten(0, 2)[live] for part in (episodes.obs, episodes.action))
    chosen = torch.linspace(0, len(obs) - 1, min(_SAMPLES, len(obs))).long()
    weights = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    weights |= {name: rows[0].detach() for name, rows in table.rows(task).items()}

    def log_prob(weights: Parameters, obs: Tensor, action: Tensor) -> Float[Tensor, ""]:
        out = functional_call(net, weights, (obs[None],))
        return net.actions.log_prob_and_entropy(out, action[None])[0][0]

    per_sample = vmap(partial(grad(log_prob), weights))(obs[chosen], action[chosen])
    return {name: gradient.square().mean(0) for name, gradient in per_sample.items()}


class Kept(NamedTuple):
    """The last episodes of a task, and the slots' tasks."""

    task: Int[Tensor, " N"]
    episodes: Episodes


class _Remembering(Keeper):
    """A keeper of episodes."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def end(self, table: TaskTable[Any], task: Int[Tensor, " N"], episodes: Episodes) -> None:
        self.kept.append(Kept(task, episodes))

    def loss(self, table: TaskTable[Any]) -> Float[Tensor, ""] | None:
        if not self.kept:
            return None
        task = torch.cat([kept.task for kept in self.kept])
        parts = zip(*(kept.episodes for kept in self.kept), strict=True)
        episodes = Episodes(*(torch.cat(part) for part in parts))
        log_prob, _ = per_task.log_prob_and_entropy(table.net, table.rows(task), episodes)
        gain = torch.where(episodes.live, self.gain(log_prob, episodes), 0.0)
        return -len(self.kept) * gain.sum() / episodes.live.sum()

    def gain(self, log_prob: Float[Tensor, "N E H"], episodes: Episodes) -> Float[Tensor, "N E H"]:
        """Return what each step earns, which the loss makes large."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What has been kept."""
        return {"kept": [(kept.task, tuple(kept.episodes)) for kept in self.kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        self.kept = [Kept(task, Episodes(*episodes)) for task, episodes in state["kept"]]


class ReplayTasks(_Remembering):
    """PPO's clipped surrogate on the last episodes of every earlier task.

    Args:
        clip: largest change of a ratio of probabilities before its gradient stops.
    """

    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def gain(self, log_prob: Float[Tensor, "N E H"], episodes: Episodes) -> Float[Tensor, "N E H"]:
        return clipped_surrogate(log_prob, episodes.behaviour, episodes.advantage, self.clip)


class Distil(_Remembering):
    """The log-likelihood of the actions that each earlier task's policy drew at its end."""

    def gain(self, log_prob: Float[Tensor, "N E H"], episodes: Episodes) -> Float[Tensor, "N E H"]:
        return log_prob


def keeper(keep: Keep, *, clip: float) -> Keeper:
    """Return the keeper of that name.

    Args:
        keep: its name.
        clip: of the clipped surrogate on replayed episodes.
    """
    makers = {"nothing": Keeper, "ewc": Ewc, "distil": Distil}
    return ReplayTasks(clip) if keep == "replay" else makers[keep]()
