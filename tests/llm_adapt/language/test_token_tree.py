import pytest
import torch

from llm_adapt.language.token_tree import Question, common_prefix, grow


def test_shared_tokens_are_one_node_and_nodes_are_in_preorder():
    row = [Question((1, 2), ((5,), (6, 7))), Question((1, 2, 5, 3), ((8,), (6, 9)))]
    trees = grow([row])
    assert trees.token.tolist() == [[1, 2, 6, 5, 3, 6]]
    assert trees.depth.tolist() == [[0, 1, 2, 2, 3, 4]]
    assert trees.end.tolist() == [[6, 6, 3, 6, 6, 6]]
    assert trees.predicting.tolist() == [[1, 2, 4, 5]]
    assert trees.place[0].tolist() == [[[0, 0], [0, 1]], [[2, 0], [2, 3]]]
    assert trees.target[0].tolist() == [[[5, 0], [6, 7]], [[8, 0], [6, 9]]]
    assert trees.used[0].tolist() == [[[True, False], [True, True]]] * 2


def test_a_node_sees_its_own_path_alone():
    trees = grow([[Question((1, 2), ((5, 0), (6, 7, 0)))]])
    assert trees.token.tolist() == [[1, 2, 5, 6, 7]]
    assert trees.visible[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_unused_nodes_see_themselves_and_nobody_sees_them():
    trees = grow([[Question((1,), ((5,),))], [Question((1, 2, 3), ((5,),))]])
    assert trees.visible[0].int().tolist() == torch.eye(3).int().tolist()


def test_what_a_cache_holds_is_left_out_and_depths_go_on():
    trees = grow([[Question((1, 2, 3), ((5, 6),))], [Question((4, 5), ((5, 6),))]], known=[2, 0])
    assert trees.token.tolist() == [[3, 5, 0], [4, 5, 5]]
    assert trees.depth[0, :2].tolist() == [2, 3]
    assert trees.depth[1].tolist() == [0, 1, 2]


def test_prompts_may_come_in_any_order():
    one, two = Question((1, 2, 3), ((5,),)), Question((1, 4), ((5,),))
    for row in ([one, two, one], [two, one, two]):
        trees = grow([row])
        assert len(trees.token[0]) == 4
        spots = trees.predicting[0][trees.place[0, :, 0, 0]]
        assert trees.token[0][spots].tolist() == [question.prompt[-1] for question in row]


@pytest.mark.parametrize(
    ("one", "other", "shared"), [((), (1,), 0), ((1, 2), (1, 2, 3), 2), ((1, 2), (1, 3), 1)]
)
def test_common_prefix(one, other, shared):
    assert common_prefix(one, other) == common_prefix(other, one) == shared
