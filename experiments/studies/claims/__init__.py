"""Claims about multi-task and meta-RL as tests: each has a bound, a prediction and a verdict from rows.

``sheet/`` has a file for each claim, ``claim.py`` what a claim is; ``study.py`` plays and judges, ``advice.py`` finds
the evidence for a setting.
"""
