"""How far from training each method still works, and how much of its fall is the tasks', the prior's and its own.

Cells are those of a comparison (``experiments/compare.py``), with every level of each axis.
"""
