"""Prefixes found by their tokens, against a brute-force search over everything that was kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollwise.engines.local.cache import Node, new_number
from rollwise.engines.local.prefixes import Prefixes

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


def grown(parent: Node | None, tokens: tuple[int, ...]) -> Node:
    """A node whose keys and values are its tokens, with a hidden state that identifies all tokens."""
    start = parent.length if parent else 0
    states = torch.tensor(tokens[start:], dtype=torch.float64)[None, None, None, :, None]
    chain = (*(parent.chain if parent else ()), new_number())
    return Node(parent, states, len(tokens), torch.tensor(hash(tokens) % 1000), chain)


def tokens_of(node: Node | None) -> tuple[int, ...]:
    """The tokens that a node's chain holds. Checks that lengths and chains agree with them."""
    if node is None:
        return ()
    before = tokens_of(node.parent)
    assert node.length == len(before) + node.states.shape[3]
    assert node.chain[:-1] == (node.parent.chain if node.parent else ())
    return (*before, *(int(value) for value in node.states.flatten().tolist()))


def longest(tokens: tuple[int, ...], kept: set[tuple[int, ...]]) -> int:
    """The length of the longest prefix of `tokens` that is kept. All tokens count only if they were kept as a whole."""
    most = max((shared_length(tokens, text) for text in kept), default=0)
    return most if most < len(tokens) or tokens in kept else most - 1


def shared_length(some: tuple[int, ...], others: tuple[int, ...]) -> int:
    length = 0
    while length < min(len(some), len(others)) and some[length] == others[length]:
        length += 1
    return length


@given(st.lists(TOKENS, max_size=12))
def test_the_longest_kept_prefix_is_found_and_holds_its_own_tokens(texts: list[tuple[int, ...]]) -> None:
    prefixes, kept, ends = Prefixes(10**6), set[tuple[int, ...]](), set[tuple[int, ...]]()
    for text in texts:
        node = prefixes.find(text)
        assert tokens_of(node) == text[: longest(text, kept)]
        if tokens_of(node) == text:
            assert node is not None
            assert int(node.hidden) == hash(text) % 1000
        else:
            assert tokens_of(prefixes.insert(text, grown(node, text))) == text
        kept.add(text)
        ends |= {text[: count + 1] for count in range(len(text))}
        assert prefixes.kept_tokens == len(ends)


@given(st.lists(TOKENS, max_size=20), st.integers(0, 12))
def test_the_limit_holds_and_found_prefixes_are_right(texts: list[tuple[int, ...]], limit: int) -> None:
    prefixes = Prefixes(limit)
    stale: Node | None = None
    for text in texts:
        node = prefixes.find(text)
        assert tokens_of(node) == text[: len(tokens_of(node))]
        base = (
            stale
            if stale is not None and tokens_of(stale) == text[: stale.length] and stale.length < len(text)
            else node
        )
        if tokens_of(node) != text:
            assert tokens_of(prefixes.insert(text, grown(base, text))) == text
        assert prefixes.kept_tokens <= limit
        stale = node


def test_the_least_recently_used_goes_first_and_a_parent_outlives_its_children() -> None:
    prefixes = Prefixes(6)
    root = prefixes.insert((1, 1), grown(None, (1, 1)))
    prefixes.insert((1, 1, 2, 2), grown(root, (1, 1, 2, 2)))
    prefixes.insert((1, 1, 3, 3), grown(root, (1, 1, 3, 3)))
    prefixes.find((1, 1, 2, 2))
    prefixes.insert((1, 1, 4), grown(root, (1, 1, 4)))
    found = {last: tokens_of(prefixes.find((1, 1, last, last))) for last in (2, 3, 4)}
    assert found == {2: (1, 1, 2, 2), 3: (1, 1), 4: (1, 1, 4)}


def test_an_inserted_node_keeps_its_chain() -> None:
    """A row that still holds the node's prefix is then recognised."""
    prefixes = Prefixes(100)
    root = prefixes.insert((1, 2), grown(None, (1, 2)))
    node = grown(root, (1, 2, 3))
    assert prefixes.insert((1, 2, 3), node).chain == node.chain
    found = prefixes.find((1, 2, 3, 4))
    assert found is not None
    assert found.chain == node.chain


@pytest.mark.parametrize("asked", [(1, 2), (1, 2, 3, 9)])
def test_a_part_of_a_kept_segment_is_found(asked: tuple[int, ...]) -> None:
    prefixes = Prefixes(100)
    prefixes.insert((1, 2, 3, 4), grown(None, (1, 2, 3, 4)))
    assert tokens_of(prefixes.find(asked)) == asked[: len(asked) - 1]
    assert tokens_of(prefixes.find((1, 2, 3, 4))) == (1, 2, 3, 4)
    assert prefixes.kept_tokens == 4
