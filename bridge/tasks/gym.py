"""The old name of ``to_gymnasium``, for ids such as ``gymnasium.make("bridge.tasks.gym:metabridge/bandit-v0")``."""

from bridge.tasks.to_gymnasium import FamilyEnv, FamilyVectorEnv

__all__ = ["FamilyEnv", "FamilyVectorEnv"]
