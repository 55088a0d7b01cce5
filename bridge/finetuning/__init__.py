"""Gradient steps at test for any agent whose network can say again what it said: weights of its own for every trial."""
