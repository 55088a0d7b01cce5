"""The study of shift: levels at which methods work, and falls as parts of tasks, prior and method.

Cells are those of a comparison (``experiments/compare.py``), with every level of each axis.
"""
