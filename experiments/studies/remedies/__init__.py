"""Remedies for methods under shift: more distinct training tasks, wider ones, replay, and gradient steps at test.

``diversity.py`` has scores by the number of distinct training tasks, ``repairs.py`` what each remedy costs in
distribution and gains under shift.
"""
