"""Similarity of agents: of their policies, their states and their errors on the same histories."""
