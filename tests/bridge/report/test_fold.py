"""Names are folded between their words."""

import pytest

from bridge.report.fold import fold


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("rl2", 10, ["rl2"]),
        ("lora_reward_icl_rl", 16, ["lora_reward_", "icl_rl"]),
        ("lora_reward_icl_rl", 11, ["lora_", "reward_", "icl_rl"]),
        ("action_permutation\nn=2", 8, ["action_", "permuta", "tion", "n=2"]),
        ("reward_scale", 7, ["reward_", "scale"]),
        ("10 12 3 1", 8, ["10 12", "3 1"]),
        ("x", 1, ["x"]),
    ],
)
def test_names_fold_between_words_into_few_even_lines(text, width, lines):
    assert fold(text, width).split("\n") == lines
