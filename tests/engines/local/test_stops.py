"""Where sampled tokens stop, against decoding the whole text after every token."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollwise.engines.local.stops import ENDS, MAY_COMPLETE, StopRule, StopTable, first_stop
from rollwise.worlds.tokenizer import END, build_tokenizer

LITERALS = ["a", "b", "ab", "\n", "\n\n", "é", "b\na", " "]
TOKENIZER: Any = build_tokenizer(LITERALS)
TABLE = StopTable(TOKENIZER, len(TOKENIZER))
SPECIAL = frozenset(range(5))
RULES = st.builds(
    StopRule,
    st.lists(st.text("ab\né ", min_size=1, max_size=4), max_size=3).map(tuple),
    st.frozensets(st.integers(0, len(TOKENIZER) - 1), max_size=2),
    st.sampled_from([frozenset(), SPECIAL]),
)
TOKENS = st.lists(st.integers(0, len(TOKENIZER) - 1), min_size=1, max_size=12)


def first_end(rule: StopRule, tokens: list[int]) -> int | None:
    """How many tokens a row has when it ends, found by decoding everything after each token."""
    for count in range(1, len(tokens) + 1):
        text = "".join(TOKENIZER.decode([token]) for token in tokens[:count] if token not in rule.textless)
        if tokens[count - 1] in rule.tokens or any(string in text for string in rule.strings):
            return count
    return None


def found_end(rule: StopRule, tokens: list[int]) -> int | None:
    slot = TABLE.slot(rule, ())
    for count in range(1, len(tokens) + 1):
        (effect,) = TABLE.effects(np.array([slot]), np.array([tokens[count - 1]]))
        if effect == ENDS or (effect == MAY_COMPLETE and TABLE.completes(rule, tokens[:count])):
            return count
    return None


@given(RULES, TOKENS)
def test_a_row_ends_with_the_token_that_completes_a_stop(rule: StopRule, tokens: list[int]) -> None:
    assert found_end(rule, tokens) == first_end(rule, tokens)


@given(st.lists(RULES, min_size=1, max_size=5), TOKENS)
def test_rules_in_busy_slots_survive_when_other_slots_are_reused(rules: list[StopRule], tokens: list[int]) -> None:
    table = StopTable(TOKENIZER, len(TOKENIZER))
    busy = {table.slot(rule, ()): rule for rule in rules}
    for number in range(70):
        table.slot(StopRule((f"a{number}",)), busy)
    for slot, rule in busy.items():
        assert table.slot(rule, busy) == slot
        effects = table.effects(np.full(len(tokens), slot), np.array(tokens))
        assert [effect == ENDS for effect in effects] == [token in rule.tokens for token in tokens]


def test_a_stop_string_is_found_when_several_tokens_share_a_character() -> None:
    """With byte tokens, no single piece holds the character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)
    table, rule = StopTable(tokenizer, len(alphabet)), StopRule(("=→",))
    tokens = tokenizer("a=→b")["input_ids"]
    assert len(tokens) == 6
    effects = table.effects(np.full(len(tokens), table.slot(rule, ())), np.array(tokens))
    ends = [
        n for n, effect in enumerate(effects, start=1) if effect == MAY_COMPLETE and table.completes(rule, tokens[:n])
    ]
    assert ends[0] == 5


def test_the_first_stop_of_a_text_is_the_earliest() -> None:
    assert first_stop("one two three", ["three", "two"]) == (4, "two")
    assert first_stop("one two", ["tw", "two"]) == (4, "tw")
    assert first_stop("one", ["two"]) is None
    assert TOKENIZER.decode([TOKENIZER.eos_token_id]) == END
