"""Every task family as a Gymnasium environment, one at a time or B at once.

    import bridge.tasks.to_gymnasium  # registers metabridge/<family>-v0
    env = gymnasium.make("metabridge/bandit-v0", spec="bandit:k=5,n=10", split="id")
    envs = gymnasium.make_vec("metabridge/bandit-v0", num_envs=64, spec="bandit:k=5,n=10")

An episode here is an episode of the family, and episodes follow one another on one task until the trial is over:

* ``reset(seed=s)`` begins a new trial; its task and all its noise are a function of ``s`` alone.
* ``reset()`` begins the next episode of the trial, or a new trial after the last episode (its task and noise are a
  function of ``s`` and the number of trials since).
* ``info`` has ``trial`` (since the seed) and ``trial_episode`` (since the trial began), and nothing about the task.
  (``episode`` is the key under which RecordEpisodeStatistics and stable-baselines3's Monitor put a return.)

The vector environment steps its B rows as one tensor batch. It does not reset by itself (``AutoresetMode.DISABLED``):
the caller resets the rows that ended through ``options={"reset_mask": mask}``. Seeds, masks and infos follow
``gymnasium.vector.SyncVectorEnv``, so that B rows equal B single environments step for step.

Shape letters: B rows, D observation features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks import FAMILIES, family, gymnasium_inputs
from bridge.tasks.base import Box, Discrete, TaskFamily
from bridge.tasks.gymnasium_inputs import SEED_LIMIT, Mask, Seeds
from bridge.tasks.perception import Senses

Transition = tuple[
    np.ndarray,
    Float[np.ndarray, " B"],
    Mask,
    Mask,
    dict[str, Any],
]


def register_envs() -> None:
    """Register ``metabridge/<family>-v0`` for every family; calling it again changes nothing."""
    for name in FAMILIES:
        if f"metabridge/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                f"metabridge/{name}-v0",
                entry_point="bridge.tasks.to_gymnasium:FamilyEnv",
                vector_entry_point="bridge.tasks.to_gymnasium:FamilyVectorEnv",
                kwargs={"spec": name},
            )


class FamilyEnv(gymnasium.Env):
    """One row of a task family."""

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium declares it as an instance attribute)

    def __init__(self, spec: str, split: str = "id", render_mode: str | None = None) -> None:
        gymnasium_inputs.no_render_mode(render_mode)
        self.family = family(spec)
        self.observation_space = gymnasium_space(self.family.observation)
        self.action_space = gymnasium_space(self.family.action)
        self._trials = _Trials(self.family, split, 1)

    def reset(
        self, *, seed: SupportsIndex | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of the trial; with a seed, or at the first call, a new trial."""
        gymnasium_inputs.check_options(options)
        seed = gymnasium_inputs.one_seed(seed)
        super().reset(seed=seed)
        if seed is None and not self._trials.seeded:
            seed = self.np_random_seed
            if seed < 0:  # the caller replaced the environment's generator
                seed = int(self.np_random.integers(SEED_LIMIT))
        self._trials.reset(np.ones(1, dtype=np.bool_), [seed])
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the family."""
        batched = gymnasium_inputs.action_batch(self.family.action, [action], 1)
        reward, terminated, truncated = self._trials.step(batched)
        return self._observation(), float(reward), bool(terminated), bool(truncated), self._info()

    def _observation(self) -> Any:
        """A discrete observation as numpy's integer, a vector as an array that shares no memory."""
        return self._trials.seen.numpy()[0].copy()

    def _info(self) -> dict[str, Any]:
        return {"trial": int(self._trials.trial), "trial_episode": int(self._trials.episode)}


class FamilyVectorEnv(VectorEnv):
    """B rows of a task family, stepped as one batch; the caller resets the rows that ended."""

    autoreset_mode = AutoresetMode.DISABLED
    metadata = {"render_modes": [], "autoreset_mode": autoreset_mode}  # noqa: RUF012

    def __init__(
        self, num_envs: int, spec: str, split: str = "id", render_mode: str | None = None
    ) -> None:
        gymnasium_inputs.no_render_mode(render_mode)
        self.num_envs = num_envs = gymnasium_inputs.row_count(num_envs)
        self.family = family(spec)
        self.single_observation_space = gymnasium_space(self.family.observation)
        self.single_action_space = gymnasium_space(self.family.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._trials = _Trials(self.family, split, num_envs)

    def reset(
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset all rows, or those of ``options["reset_mask"]``; row i has ``seed + i``, or ``seed[i]`` of several."""
        mask = gymnasium_inputs.reset_mask(options, self.num_envs)
        seeds = gymnasium_inputs.row_seeds(seed, self.num_envs)
        super().reset(seed=None if isinstance(seed, Sequence | np.ndarray) else seeds[0])
        if not self._trials.seeded:
            entropy = self.np_random.integers(SEED_LIMIT, size=self.num_envs)
            seeds = [int(e) if s is None else s for s, e in zip(seeds, entropy, strict=True)]
        self._trials.reset(mask, seeds)
        return self._observations(), self._infos(mask)

    def step(self, actions: Any) -> Transition:
        """One step of every row; a row that has ended must be reset first."""
        reward, terminated, truncated = self._trials.step(
            gymnasium_inputs.action_batch(self.family.action, actions, self.num_envs)
        )
        return (
            self._observations(),
            reward.double().numpy(),
            terminated.numpy(),
            truncated.numpy(),
            self._infos(np.ones(self.num_envs, dtype=np.bool_)),
        )

    def _observations(self) -> np.ndarray:
        return self._trials.seen.numpy().copy()

    def _infos(self, mask: Mask) -> dict[str, Any]:
        """Infos in Gymnasium's batched form: each entry 0 outside ``mask``, with a copy of the mask beside it."""
        infos: dict[str, Any] = {}
        for name, value in (("trial", self._trials.trial), ("trial_episode", self._trials.episode)):
            infos[name], infos[f"_{name}"] = np.where(mask, value.numpy(), 0), mask.copy()
        return infos


class _Trials:
    """B rows, each at a step, episode and trial of its own."""

    def __init__(self, family: TaskFamily, split: str, rows: int) -> None:
        self.family, self.split, self.bounds = family, split, family.trial(split)
        self.seeded = False
        self.seed, self.trial, self.episode, self.steps = torch.zeros(4, rows, dtype=torch.int64)
        self.over = torch.ones(rows, dtype=torch.bool)
        self.state: Any = None
        self.obs: Tensor
        self.senses: Senses | None = None
        self.seen: Tensor
        """``obs`` as it is observed."""

    def reset(self, mask: Mask, seeds: Sequence[int | None]) -> None:
        """Begin an episode of the rows of ``mask``: of a new trial if they have a seed or their trial is over."""
        chosen = torch.tensor(mask)
        if not self.seeded and not bool(chosen.all()):
            raise ResetNeeded(
                "The first reset must be of all rows. Call reset() without a mask before reset with one."
            )
        new_seed = torch.tensor([seed is not None for seed in seeds]) & chosen
        values = torch.tensor([gymnasium_inputs.seed_bits(seed or 0) for seed in seeds])
        self.seed = torch.where(new_seed, values, self.seed)
        new_trial = new_seed | (chosen & (self.episode + 1 == self.bounds.episodes))
        self.trial = torch.where(new_seed, 0, self.trial + new_trial.long())
        self.episode = torch.where(new_trial, 0, self.episode + chosen.long())
        self.steps = torch.where(chosen, 0, self.steps)
        self.over = self.over & ~chosen
        if bool(new_trial.any()):
            self.noise = Rows.of("gym", self.seed).at("trial", self.trial)
            self.tasks = self.family.sample(
                self.split, self.noise.at("task").bits() & (SEED_LIMIT - 1)
            )
        noise = self.noise.at("env", self.episode)
        self.now = self.family.task_of(self.tasks, self.episode)
        begun = self.family.reset(self.now, noise.at("reset"))
        if self.seeded:
            begun = tree.where(chosen, begun, (self.state, self.obs))
        self.state, self.obs = begun
        before, self.senses = self.senses, Senses.of(self.family, self.now, noise.at("senses"))
        self.seen = self.senses.first(self.obs) if self.senses else self.obs
        if self.senses and before:
            self.senses.keep(~chosen, before)
            self.seen = self.senses.seen
        self.seeded = True

    def step(
        self, action: Tensor
    ) -> tuple[Float[Tensor, " B"], Bool[Tensor, " B"], Bool[Tensor, " B"]]:
        """One step of every row; returns reward, terminated and truncated."""
        if bool(self.over.any()):
            rows = self.over.nonzero().flatten().tolist()
            raise ResetNeeded(
                f"Rows {rows} have no running episode. Call reset() first; in a running vector environment reset them "
                'alone through options={"reset_mask": terminated | truncated}.'
            )
        noise = self.noise.at("env", self.episode, "step", self.steps)
        outcome = self.family.step(self.now, self.state, action, noise)
        ends = outcome.ends(self.steps + 1 == self.bounds.horizon)
        step = Step(self.obs, action, outcome.reward, outcome.obs, *ends)
        sensed = self.senses.step(self.steps, step) if self.senses else step
        self.state, self.obs, self.seen = outcome.state, step.next_obs, sensed.next_obs
        self.steps, self.over = self.steps + 1, ends[0] | ends[1]
        return sensed.reward, *ends


def gymnasium_space(space: Discrete | Box) -> spaces.Discrete | spaces.Box:
    """A space of ours as Gymnasium's."""
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n)
    low, high = np.array(space.low, dtype=np.float32), np.array(space.high, dtype=np.float32)
    return spaces.Box(low, high, dtype=np.float32)


register_envs()
