"""The ring of keys and values: which token is in which slot, and that rows that stand still keep theirs."""

import torch

from bridge import memory as tree
from llm_adapt.cache import Cache, Entry, extend, held, write

LAYERS, ROWS, HEADS, SIZE, TOKENS = 2, 3, 2, 4, 11


def empty(capacity):
    keys, values = (
        tuple(torch.zeros(ROWS, HEADS, capacity, SIZE) for _ in range(LAYERS)) for _ in range(2)
    )
    return Cache(keys, values, torch.zeros(ROWS, dtype=torch.int64))


def tokens():
    shape = (2, LAYERS, ROWS, HEADS, TOKENS, SIZE)
    keys, values = torch.arange(1.0, 1 + torch.Size(shape).numel()).view(shape)
    return Entry(tuple(keys), tuple(values))


def at(entry, t):
    """Token ``t[b]`` of each row b."""
    return Entry(*(tuple(x[torch.arange(ROWS), :, t] for x in part) for part in entry))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


def test_slots_hold_the_newest_tokens():
    assert held(torch.tensor([0, 2, 3, 5]), 3).tolist() == [
        [-3, -2, -1],
        [0, 1, -1],
        [0, 1, 2],
        [3, 4, 2],
    ]


def test_written_tokens_lie_where_held_says():
    cache, entry = empty(4), tokens()
    for t in range(7):
        cache = write(cache, at(entry, torch.full((ROWS,), t)))
    for slot, token in enumerate(held(cache.length, 4)[0].tolist()):
        for layer in range(LAYERS):
            assert torch.equal(cache.keys[layer][:, :, slot], entry.keys[layer][:, :, token])
            assert torch.equal(cache.values[layer][:, :, slot], entry.values[layer][:, :, token])


def test_rows_in_step_are_written_as_rows_that_are_not():
    """One row a call equals all rows at once, with a mask or without."""
    entry, alone = tokens(), [empty(4) for _ in range(3)]
    for t in range(7):
        token = at(entry, torch.full((ROWS,), t))
        alone[0] = write(alone[0], token)
        alone[1] = write(alone[1], token, torch.ones(ROWS, dtype=torch.bool))
        for row in range(ROWS):
            alone[2] = write(alone[2], token, torch.arange(ROWS) == row)
    assert same(alone[0], alone[1])
    assert same(alone[0], alone[2])


def test_dead_rows_stay_bit_for_bit():
    cache, entry = empty(4), tokens()
    for t in range(5):
        cache = write(cache, at(entry, torch.full((ROWS,), t)))
    before = tree.fork(cache)
    after = write(cache, at(entry, torch.full((ROWS,), 9)), torch.tensor([False, True, False]))
    assert same(tree.select(after, torch.tensor([0, 2])), tree.select(before, torch.tensor([0, 2])))
    assert after.length.tolist() == [5, 6, 5]
    assert torch.equal(after.keys[1][1, :, 1], entry.keys[1][1, :, 9])


def test_many_at_once_are_one_after_another():
    """Rows of different lengths get different counts: none, some, and more than the ring holds."""
    for first, count in (([0, 0, 0], [0, 3, 11]), ([2, 5, 1], [6, 0, 9]), ([4, 4, 4], [1, 2, 3])):
        entry, count = tokens(), torch.tensor(count)
        one_by_one, at_once = empty(4), empty(4)
        for start in range(max(first)):
            live = torch.tensor(first) > start
            one_by_one, at_once = (
                write(c, at(entry, torch.full((ROWS,), 10)), live) for c in (one_by_one, at_once)
            )
        for t in range(TOKENS):
            one_by_one = write(one_by_one, at(entry, torch.full((ROWS,), t)), t < count)
        assert same(extend(at_once, entry, count), one_by_one)


def test_what_a_fork_writes_leaves_the_original():
    cache = write(empty(4), at(tokens(), torch.zeros(ROWS, dtype=torch.int64)))
    before, fork = tree.fork(cache), tree.fork(cache)
    write(fork, at(tokens(), torch.full((ROWS,), 3)))
    assert same(cache, before)
