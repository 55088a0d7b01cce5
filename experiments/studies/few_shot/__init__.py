"""Does adaptation in context replace fine-tuning? Curves over shots and gradient steps, at home and under shift.

    metabridge few-shot runs/* --splits id,shift/gap --out results/few

An agent plays a number of episodes of its own (its *shots*; track F), takes gradient steps on them, and is then scored
on one more episode, frozen. With ``--signal demos`` it reads the oracle's episodes instead, and clones them (track C).
This is few-shot *per task*: what is tuned on one task is scored on that task.

Every run is played without gradient steps, and with 1, 5, 20 and 100 of them before each scored episode: on all of its
weights (``full_reward``) and, if it is a transformer, on adapters (``lora_reward``) or its last layer
(``head_reward``). Methods with gradient steps of their own (``own``: MAML, ``lora_maml``) take that many each time they
adapt, which may be several times in a trial; ``taken`` is the number of all steps.

Tables: the return of the scored episode by shots, and what fine-tuning adds to the same run without it, paired on runs
and tasks. Intervals are for new tasks and these very runs, of which there are few as a rule. Beside each stand the
gradient steps taken and refused, the seconds and the operations of a trial: its last shot, the steps before the scored
episode, and that episode. ``curves.csv`` has them at every point. Operations are counted on two trials of the first of
the runs that are configured alike, since counting takes longer than playing. A last table answers the question: the
return of methods that adapt in context, without gradient steps, less that of methods that adapt by gradient steps
alone. The figure (``curves.png``, ``.svg``, ``.pdf``) shows returns over shots, and over gradient steps.

Cells are kept in OUT, and played once, until their run is trained further.
"""
