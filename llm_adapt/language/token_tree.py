"""Prompts and their labels as trees of tokens, so that what they share is read once, in one pass.

The prompts of a trial share their beginnings, all of it if the format appends; the labels of a prompt (names of
actions) share theirs: " 1" and " 2" differ in their second token only. A node of the tree is a token after all tokens
on the path from the root. A token attends to the tokens of its own path and its position is its depth, so its hidden
state is the one that it has in a plain sequence.

Nodes are in preorder: a node is followed by its whole subtree. So node i has node j on its path if j <= i < end[j].

Shape letters: B rows, N nodes of the largest tree, Q nodes after which a token is predicted, S prompts of a row, A
labels of a prompt, M tokens of the longest label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Ids = tuple[int, ...]
"""Token ids."""


class Question(NamedTuple):
    """A prompt, and the labels that may follow it, as tokens."""

    prompt: Ids
    labels: tuple[Ids, ...]


class TokenTrees(NamedTuple):
    """One tree a row, and the places at which labels are scored. Rows with fewer nodes end with unused ones."""

    token: Int[Tensor, "B N"]
    depth: Int[Tensor, "B N"]
    """Number of tokens before the node on its path."""
    end: Int[Tensor, "B N"]
    """Number of the first node after the subtree of each node; an unused node is a subtree of its own."""
    predicting: Int[Tensor, "B Q"]
    """The nodes from which a label's token is predicted."""
    place: Int[Tensor, "B S A M"]
    """For each token of each label, the place in ``predicting`` of the node before it."""
    target: Int[Tensor, "B S A M"]
    """The tokens of each label."""
    used: Bool[Tensor, "B S A M"]
    """False behind the last token of a label, and at prompts that a row does not have."""

    def to(self, device: torch.device) -> TokenTrees:
        """The same trees on a device."""
        return TokenTrees(*(part.to(device) for part in self))

    @property
    def visible(self) -> Bool[Tensor, "B N N"]:
        """True where node i (rows) attends to node j (columns): to its path, itself included."""
        number = torch.arange(self.token.shape[1], device=self.token.device)
        below, above = number[:, None], number[None, :]
        return (above <= below) & (below < self.end[:, None])


class _Tree:
    """The tree of one row while it grows; node 0 is the first token."""

    def __init__(self) -> None:
        self.token: list[int] = []
        self.depth: list[int] = []
        self.children: list[dict[int, int]] = []
        self.roots: dict[int, int] = {}
        self.path: list[int] = []
        """Nodes of the last sequence."""

    def insert(self, ids: Ids) -> list[int]:
        """Add a sequence; return its nodes. It shares those of sequences that begin alike."""
        shared = common_prefix(ids, [self.token[node] for node in self.path])
        nodes = self.path[:shared]
        for token in ids[shared:]:
            below = self.children[nodes[-1]] if nodes else self.roots
            if token not in below:
                below[token] = len(self.token)
                self.token.append(token)
                self.depth.append(len(nodes))
                self.children.append({})
            nodes.append(below[token])
        self.path = nodes
        return nodes

    def preorder(self) -> tuple[list[int], list[int]]:
        """The nodes in preorder, and the end of each one's subtree, as numbers in this order."""
        order, ends = [], [0] * len(self.token)
        pending = [(node, False) for node in reversed(self.roots.values())]
        while pending:
            node, left = pending.pop()
            if left:
                ends[node] = len(order)
                continue
            order.append(node)
            pending.append((node, True))
            pending += [(child, False) for child in reversed(self.children[node].values())]
        return order, [ends[node] for node in order]


def grow(rows: Sequence[Sequence[Question]], known: Sequence[int] | None = None) -> TokenTrees:
    """The trees of some rows, one question or more each; every question of a call has as many labels.

    Args:
        rows: the questions of each row. Prompts and labels have one token or more.
        known: the number of first tokens of each row's prompts that a cache holds and that the tree leaves out; all
            prompts of the row share them, and each has more. None: none.
    """
    trees, predicting, parts = [], [], []
    for row, questions in enumerate(rows):
        skip = known[row] if known else 0
        tree, nodes, spots = _Tree(), {}, []
        for prompt, labels in questions:
            last = len(tree.insert(prompt[skip:])) - 1
            for label in labels:
                before = tree.insert(prompt[skip:] + label[:-1])[last:]
                spots.append([nodes.setdefault(node, len(nodes)) for node in before])
        trees.append(tree)
        predicting.append(list(nodes))
        parts.append(spots)
    return _batched(rows, trees, predicting, parts, known)


def _batched(
    rows: Sequence[Sequence[Question]],
    trees: list[_Tree],
    predicting: list[list[int]],
    parts: list[list[list[int]]],
    known: Sequence[int] | None,
) -> TokenTrees:
    """Padded tensors of some trees, with nodes in preorder."""
    nodes = max(len(tree.token) for tree in trees)
    most, prompts = max(map(len, predicting)), max(map(len, rows))
    labels = max(len(question.labels) for questions in rows for question in questions)
    longest = max(len(spots) for row in parts for spots in row)
    token = torch.zeros(len(rows), nodes, dtype=torch.int64)
    depth, end = torch.zeros_like(token), torch.arange(1, nodes + 1).repeat(len(rows), 1)
    at = torch.zeros(len(rows), most, dtype=torch.int64)
    place = torch.zeros(len(rows), prompts, labels, longest, dtype=torch.int64)
    target, used = torch.zeros_like(place), torch.zeros_like(place, dtype=torch.bool)
    for row, (questions, tree) in enumerate(zip(rows, trees, strict=True)):
        order, ends = tree.preorder()
        number = dict(zip(order, range(len(order)), strict=True))
        token[row, : len(order)] = torch.tensor([tree.token[node] for node in order])
        depth[row, : len(order)] = torch.tensor([tree.depth[node] for node in order])
        depth[row] += known[row] if known else 0
        end[row, : len(order)] = torch.tensor(ends)
        at[row, : len(predicting[row])] = torch.tensor([number[node] for node in predicting[row]])
        spots = iter(parts[row])
        for s, question in enumerate(questions):
            for a, label in enumerate(question.labels):
                here = (row, s, a, slice(len(label)))
                place[here], target[here] = torch.tensor(next(spots)), torch.tensor(label)
                used[here] = True
    return TokenTrees(token, depth, end, at, place, target, used)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of first tokens that two sequences share."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))
