"""Every mitigation of ``metabridge concerns``, on the testbed of the concern that it is for.

Training on all tasks at once is the bound of a sequence of tasks, and no mitigation.
"""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.claims.elsewhere import relief
from experiments.studies.concerns.mitigations import mitigations
from experiments.studies.concerns.testbeds import TESTBEDS

CLAIM = Claim(
    statement="Each mitigation of multi-task RL relieves the concern that it is for.",
    test=all_of(
        *(
            above(relief(testbed.name, row.name), 0.02)
            for testbed in TESTBEDS
            for row in mitigations(testbed, every=False)
            if row.concern == testbed.concern and not row.together
        )
    ),
    prediction="refuted",
    known="The same study with five seeds found that MGDA does harm, and that elastic weights add nothing.",
    because="Published comparisons with tuned baselines find that most surgery adds nothing.",
)
