"""References for bandits."""
