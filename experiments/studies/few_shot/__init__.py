"""Does adaptation in context replace fine-tuning? Curves over shots and gradient steps, at home and under shift.

    metabridge few-shot runs/* --splits id,shift/gap --out results/few

Every run is played as it is (0 gradient steps), and with 1, 5, 20 and 100 gradient steps before each scored episode,
on all of its weights (``full_reward``) and, where it is a transformer, on adapters (``lora_reward``) or its last layer
(``head_reward``). Methods that take gradient steps of their own kind (``own``: MAML, ``lora_maml``) take so many each
time that they do; ``taken`` is their number. An agent explores on its own for so many episodes (track F), takes
its gradient steps on what it has seen, and is scored frozen. With ``--signal demos`` it reads and clones the oracle's
episodes instead (track C). This is few-shot *per task*: what is tuned on one task is scored on that task.

Tables: the return of the scored episode by shots, and what fine-tuning adds to the same run without it, paired on runs
and tasks. Intervals are for new tasks and these very runs, of which there are few as a rule. Beside each stand the
gradient steps taken and refused, the seconds and the operations of a trial: its last shot, the steps before the scored
episode, and that episode. ``curves.csv`` has them at every point. Operations are counted on two trials of the first of
the runs that are configured alike, since counting takes longer than playing. The claim: what adapts in context, as it
is, less what adapts by gradient steps alone. Figure (``curves.png``, ``.svg``): the same over shots, and over gradient
steps. Cells are kept in OUT, and played once, until their run is trained further.
"""
