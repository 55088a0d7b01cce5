"""The sheet: every claim by name, in the order in which it is printed."""

from importlib import import_module

from experiments.studies.claims.claim import Claim

NAMES = (
    "multitask_does_not_adapt",
    "memory_adapts_without_gradients",
    "maml_adapts_by_its_steps",
    "meta_gradient_is_costly",
    "meta_gradient_is_unstable",
    "pearl_when_the_task_is_uncertain",
    "every_method_fails_under_enough_shift",
    "wider_training_moves_the_failure",
    "in_context_is_no_substitute_for_fine_tuning",
    "negative_transfer_is_real",
    "each_mitigation_relieves_its_concern",
    "prompt_shift_is_like_task_shift",
    "in_context_adaptation_mirrors_rl2",
    "fine_tuning_mirrors_maml",
    "order_matters_to_memories_alone",
    "negated_rewards_are_a_matter_of_the_prior",
    "gradient_steps_take_back_the_prior",
    "memories_learn_to_explore",
    "a_signal_beats_low_returns",
    "gradient_methods_do_not_foresee_failure",
    "a_switch_by_low_returns_pays",
    "choose_for_known_tasks",
    "choose_with_gradient_steps",
    "choose_without_gradient_steps",
    "choose_if_the_task_is_uncertain",
    "choose_under_shift",
)

SHEET: dict[str, Claim] = {name: import_module(f"{__name__}.{name}").CLAIM for name in NAMES}
"""By the name of its file."""
