"""Concerns of one network that learns many tasks, and their remedies; a concern a file.

Every remedy of gradients and losses works through one step, ``combining.backward``.
"""
