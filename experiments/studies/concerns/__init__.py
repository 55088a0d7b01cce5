"""What makes tasks get in one another's way, and what relieves it: mitigations side by side on testbeds with a dial.

    metabridge concerns --size quick --out results/concerns

A testbed (``testbeds.py``) is a family with a dial for one concern: at its bottom the concern is absent, at its top it
is there. A mitigation (``mitigations.py``) is a few settings of multi-task RL. Every mitigation, plain training among
them, is tuned by as many configurations on each testbed: these are trained with the training seed of tuning and scored
on the known tasks under noise of their own, and the best is trained with each of the study's seeds.

Scores are of a trial, by task: 0 is random play and 1 the oracle, whatever the unit of its rewards; then means over
tasks. Tables (``tables.py``): whether each testbed shows its concern (plain training less specialists, at both ends of
the dial), and what each mitigation adds to plain training at the top. Positive is better. Intervals are over training
seeds, for these very tasks. Four measures follow, each a list of cells and a reader of them (``making.Measure``):
``conflicts.py``, ``transfer.py``, ``front.py``, ``sequence.py``.
"""
