"""Prefixes found by their tokens, against brute force over all that was ever kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollwise.engines.local.cache import Node, new_number
from rollwise.engines.local.prefixes import Prefixes

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


def grown(parent: Node | None, tokens: tuple[int, ...]) -> Node:
    """A node whose keys, values and hidden state tell which tokens they are of."""
    start = parent.length if parent else 0
    states = torch.tensor(tokens[start:], dtype=torch.float64)[None, None, None, :, None]
    chain = (*(parent.chain if parent else ()), new_number())
    return Node(parent, states, len(tokens), torch.tensor(hash(tokens) % 1000), chain)


def told(node: Node | None) -> tuple[int, ...]:
    """The tokens that a node's chain holds, and that its lengths agree with them."""
    if node is None:
        return ()
    before = told(node.parent)
    assert node.length == len(before) + node.states.shape[3]
    assert node.chain[:-1] == (node.parent.chain if node.parent else ())
    return (*before, *(int(value) for value in node.states.flatten().tolist()))


def longest(tokens: tuple[int, ...], kept: set[tuple[int, ...]]) -> int:
    """How much of the tokens is kept; all of them only where they were kept as a whole."""
    shared = [sum(1 for _ in _alike(tokens, each)) for each in kept]
    most = max(shared, default=0)
    return most if most < len(tokens) or tokens in kept else most - 1


def _alike(some: tuple[int, ...], others: tuple[int, ...]) -> list[int]:
    for index, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return list(range(index))
    return list(range(min(len(some), len(others))))


@given(st.lists(TOKENS, max_size=12))
def test_the_longest_kept_prefix_is_found_and_holds_its_own_tokens(texts: list[tuple[int, ...]]) -> None:
    prefixes, kept, ends = Prefixes(10**6), set[tuple[int, ...]](), set[tuple[int, ...]]()
    for text in texts:
        node = prefixes.find(text)
        assert told(node) == text[: longest(text, kept)]
        if told(node) == text:
            assert node is not None
            assert int(node.hidden) == hash(text) % 1000
        else:
            assert told(prefixes.insert(text, grown(node, text))) == text
        kept.add(text)
        ends |= {text[: count + 1] for count in range(len(text))}
        assert prefixes.held == len(ends)


@given(st.lists(TOKENS, max_size=20), st.integers(0, 12))
def test_no_more_is_kept_than_the_limit_and_what_is_found_is_right(texts: list[tuple[int, ...]], limit: int) -> None:
    prefixes = Prefixes(limit)
    stale: Node | None = None
    for text in texts:
        node = prefixes.find(text)
        assert told(node) == text[: len(told(node))]
        base = stale if stale is not None and told(stale) == text[: stale.length] and stale.length < len(text) else node
        if told(node) != text:
            assert told(prefixes.insert(text, grown(base, text))) == text
        assert prefixes.held <= limit
        stale = node


def test_the_least_used_goes_first_and_a_parent_outlives_its_children() -> None:
    prefixes = Prefixes(6)
    root = prefixes.insert((1, 1), grown(None, (1, 1)))
    prefixes.insert((1, 1, 2, 2), grown(root, (1, 1, 2, 2)))
    prefixes.insert((1, 1, 3, 3), grown(root, (1, 1, 3, 3)))
    prefixes.find((1, 1, 2, 2))
    prefixes.insert((1, 1, 4), grown(root, (1, 1, 4)))
    found = {last: told(prefixes.find((1, 1, last, last))) for last in (2, 3, 4)}
    assert found == {2: (1, 1, 2, 2), 3: (1, 1), 4: (1, 1, 4)}


def test_a_node_that_goes_on_from_a_kept_one_names_the_same_chain() -> None:
    """So that a row that still holds the prefix is recognised."""
    prefixes = Prefixes(100)
    root = prefixes.insert((1, 2), grown(None, (1, 2)))
    node = grown(root, (1, 2, 3))
    assert prefixes.insert((1, 2, 3), node).chain == node.chain
    found = prefixes.find((1, 2, 3, 4))
    assert found is not None
    assert found.chain == node.chain


@pytest.mark.parametrize("asked", [(1, 2), (1, 2, 3, 9)])
def test_a_part_of_what_was_read_at_once_is_found_too(asked: tuple[int, ...]) -> None:
    prefixes = Prefixes(100)
    prefixes.insert((1, 2, 3, 4), grown(None, (1, 2, 3, 4)))
    assert told(prefixes.find(asked)) == asked[: len(asked) - 1]
    assert told(prefixes.find((1, 2, 3, 4))) == (1, 2, 3, 4)
    assert prefixes.held == 4
