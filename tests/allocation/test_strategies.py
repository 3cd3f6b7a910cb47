"""Every strategy against worked tables, second implementations of its definition, and shared invariants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import make_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollwise.allocation.strategies import STRATEGIES, Strategy
from rollwise.core import Allocation, Belief, Candidates, Directions, FloatArray, IntArray, PathKey
from rollwise.errors import AllocationError, InputError

ROUNDED = ("rebase", "dora", "dora_two_stage")
ROUNDINGS = ("cumulative", "largest_remainder", "systematic", "divisor(0)", "divisor(0.5)", "divisor(1)", "paper")
SETUPS = [
    *((name, {}) for name in STRATEGIES if name not in ROUNDED),
    *((name, {"rounding": rounding}) for name in ROUNDED for rounding in ROUNDINGS),
    ("beam", {"beam_width": 3}),
    ("dvts", {"beam_width": 3}),
]
every_setup = pytest.mark.parametrize(
    ("name", "options"), SETUPS, ids=lambda part: "-".join(map(str, part.values())) if isinstance(part, dict) else part
)
quick = settings(max_examples=25)


def labelled(labels: Sequence[int]) -> Directions:
    return Directions(labels=np.array(labels, dtype=np.int64))


def candidates(rewards: Sequence[float], directions: Directions | None = None, **fields: Any) -> Candidates:
    keys = tuple((index,) for index in range(len(rewards)))
    return Candidates(
        **{"paths": keys, "rewards": np.array(rewards, dtype=np.float64), "directions": directions} | fields
    )


def allocate(name: str, among: Candidates, width: int, **options: Any) -> Allocation:
    return STRATEGIES[name].bind(options)(among, width)


def totals(counts: FloatArray | IntArray, labels: Sequence[int]) -> FloatArray:
    return np.array([counts[np.equal(labels, label)].sum() for label in range(max(labels) + 1)], dtype=np.float64)


def reads(name: str, among: Candidates) -> bool:
    """Whether a strategy can read these directions: `optimal_directions` needs groups, which weights do not name."""
    return name != "optimal_directions" or among.directions is None or among.directions.weights is None


@st.composite
def situations(draw: st.DrawFn) -> tuple[Candidates, int]:
    """Draws candidates with ties, duplicates and unsorted keys, and a width that may differ from their number."""
    size = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    embeddings = generator.integers(-2, 3, (size, 3)) + np.array([0.5, 0, 0])
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = draw(
        st.sampled_from(
            [
                labelled(generator.integers(0, 6, size).tolist()),
                Directions(similarity=np.clip((unit @ unit.T + (unit @ unit.T).T) / 2, -1, 1)),
                Directions(weights=generator.uniform(0.01, 1, size)),
            ]
        )
    )
    keys = {tuple(generator.integers(0, 9, draw(st.integers(2, 4))).tolist()) for _ in range(size)}
    keys |= {(9, index) for index in range(size - len(keys))}
    made = Candidates(
        paths=tuple(sorted(keys, key=lambda _: generator.random())),
        rewards=generator.choice([generator.random(size), generator.integers(0, 5, size) / 4]),
        directions=directions,
        lineage=generator.integers(0, 12, size),
        depth=generator.integers(1, 4, size),
        question=draw(st.sampled_from([None, "one", "two"])),
        seed=draw(st.integers(0, 99)),
        belief=Belief(
            mean=generator.choice([generator.random(size), generator.integers(0, 5, size) / 4]),
            concentration=10 ** generator.uniform(-2, 2, size),
            correlation=draw(st.sampled_from([0.3, 1.0])),
            spent=generator.integers(0, 4, size),
        ),
    )
    return made, draw(st.integers(0, 150) | st.just(size))


def chosen(among: Candidates, order: IntArray) -> Candidates:
    known = among.directions or Directions()
    moved = Directions(
        labels=None if known.labels is None else known.labels[order],
        similarity=None if known.similarity is None else known.similarity[order][:, order],
        weights=None if known.weights is None else known.weights[order],
    )
    believed = among.belief
    assert among.lineage is not None
    assert believed is not None
    assert believed.spent is not None
    paths = tuple(among.paths[index] for index in order)
    belief = Belief(believed.mean[order], believed.concentration[order], believed.correlation, believed.spent[order])
    return Candidates(
        paths, among.rewards[order], moved, among.lineage[order], None, among.question, among.seed, belief
    )


# Worked tables


def test_figure_two_of_the_paper() -> None:
    similarity = np.full((4, 4), 0.1)
    similarity[:3, :3] = similarity[3, 3] = 1.0
    paths = candidates([0.95] * 4, Directions(similarity=similarity))
    assert allocate("rebase", paths, 12).weights.tolist() == [0.25] * 4
    made = allocate("dora", paths, 12)
    np.testing.assert_allclose(made.weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2], atol=1e-6)
    assert made.counts.tolist() == [2, 2, 2, 6]
    assert made.effective_directions == pytest.approx(2, abs=1e-6)


def test_a_large_direction_gets_nothing_if_its_paths_are_rounded_singly() -> None:
    """Its share is 6.5 of 64 rollouts, which is 0.16 for each of its 40 paths."""
    labels = [0] * 40 + list(range(1, 25))
    paths = candidates([0.9] * 40 + [0.8] * 24, labelled(labels))
    made = allocate("dora", paths, 64)
    assert 64 * totals(made.weights, labels)[0] == pytest.approx(64 * math.e / (math.e + 24))
    assert 64 * totals(made.weights, labels)[0] == pytest.approx(6.5, abs=0.02)
    assert totals(made.counts, labels)[0] in (6, 7)
    for rounding in ("largest_remainder", "paper"):
        assert totals(allocate("dora", paths, 64, rounding=rounding).counts, labels)[0] == 0


def test_two_stages_prune_before_uniqueness() -> None:
    # softmax: 8 / (3 + e^-4) = 2.65 each for the first three and 0.05 for the last, which drops out of its direction.
    paths = candidates([0.9, 0.9, 0.9, 0.5], labelled([0, 0, 1, 1]))
    made = allocate("dora_two_stage", paths, 8)
    assert made.first_counts is not None
    assert made.uniqueness is not None
    assert made.first_counts.tolist() == [3, 3, 2, 0]
    assert made.uniqueness.tolist() == [0.5, 0.5, 1, 0]
    np.testing.assert_allclose(made.weights, [0.25, 0.25, 0.5, 0], atol=1e-15)
    assert made.counts.tolist() == [2, 2, 4, 0]
    paper = allocate("dora_two_stage", paths, 8, rounding="paper")
    assert paper.first_counts is not None
    assert paper.first_counts.tolist() == [3, 3, 3, 0]
    assert paper.counts.tolist() == [2, 2, 4, 0]

    one_stage = allocate("dora", paths, 8)
    third, last = 1 / (3 + math.exp(-4)), math.exp(-4) / (3 + math.exp(-4))
    np.testing.assert_allclose(one_stage.weights, np.array([third, third, third, last]) / (3 * third + last))
    assert one_stage.first_counts is None


def test_two_stages_keep_all_candidates_if_all_round_to_zero() -> None:
    made = allocate("dora_two_stage", candidates([0.5] * 4, labelled([0, 1, 2, 3])), 1, rounding="paper")
    assert made.first_counts is not None
    assert made.first_counts.tolist() == [0, 0, 0, 0]
    assert made.weights.tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("name", "rewards", "width", "expected"),
    [
        ("temperature", [0.1, 0.9, 0.5], 3, [1, 1, 1]),
        ("temperature", [0.1, 0.9, 0.5], 7, [3, 2, 2]),
        ("beam", [0.1, 0.9, 0.5, 0.2, 0.3, 0.8], 6, [0, 4, 0, 0, 0, 2]),
        ("beam", [0.1, 0.9], 12, [6, 6]),
        ("dvts", [0.1, 0.9, 0.5, 0.2, 0.3, 0.8], 6, [0, 4, 0, 0, 0, 2]),
        ("dvts", [0.1, 0.9, 0.5, 0.2, 0.3, 0.8], 12, [0, 8, 0, 0, 0, 4]),
    ],
)
def test_worked_counts(name: str, rewards: list[float], width: int, expected: list[int]) -> None:
    lineage = np.arange(len(rewards))
    assert allocate(name, candidates(rewards, lineage=lineage), width).counts.tolist() == expected


@quick
@given(situation=situations())
def test_two_stages_are_dora_among_the_survivors_of_rebase(situation: tuple[Candidates, int]) -> None:
    among, width = situation
    made = allocate("dora_two_stage", among, width, reward_temperature=0.3, similarity_temperature=0.05)
    first = allocate("rebase", among, width, reward_temperature=0.3).counts
    assert made.first_counts is not None
    assert made.first_counts.tolist() == first.tolist()
    kept = np.flatnonzero(first) if width else np.arange(len(among))
    second = allocate("dora", chosen(among, kept), width, reward_temperature=0.3, similarity_temperature=0.05)
    assert made.counts[kept].tolist() == second.counts.tolist()
    np.testing.assert_array_equal(made.weights[kept], second.weights)
    assert made.weights.sum() == pytest.approx(1)


# Beam and DVTS, implemented again. At a step the width is the number of active paths.


def beam_by_hand(keys: Sequence[PathKey], rewards: Sequence[float], children: int) -> dict[PathKey, int]:
    left = len(keys)
    counts = dict.fromkeys(keys, 0)
    for _, key in sorted((-reward, key) for key, reward in zip(keys, rewards, strict=True)):
        counts[key] = min(children, left)
        left -= counts[key]
    return counts


def dvts_by_hand(keys: Sequence[PathKey], rewards: Sequence[float], children: int) -> dict[PathKey, int]:
    subtrees: dict[int, list[tuple[float, PathKey]]] = {}
    for key, reward in zip(keys, rewards, strict=True):
        subtrees.setdefault(key[0] // children, []).append((-reward, key))
    counts = dict.fromkeys(keys, 0)
    for members in subtrees.values():
        counts[min(members)[1]] = len(members)
    return counts


@pytest.mark.parametrize("children", range(1, 10))
@pytest.mark.parametrize(("name", "by_hand"), [("beam", beam_by_hand), ("dvts", dvts_by_hand)])
def test_tree_searches_equal_their_second_implementation(
    name: str, by_hand: Callable[[Sequence[PathKey], Sequence[float], int], dict[PathKey, int]], children: int
) -> None:
    generator = np.random.default_rng(children)
    for size in range(1, 33):
        roots = generator.integers(0, 32, size)
        keys = [(int(root), index) for root, index in zip(roots, generator.permutation(size).tolist(), strict=True)]
        rewards = (generator.integers(0, 6, size) / 5).tolist()
        made = allocate(name, candidates(rewards, paths=tuple(keys), lineage=roots), size, beam_width=children)
        assert dict(zip(keys, made.counts.tolist(), strict=True)) == by_hand(keys, rewards, children)


# Invariants


@every_setup
@quick
@given(situation=situations())
def test_counts_sum_to_the_width_and_weights_to_one(
    name: str, options: dict[str, Any], situation: tuple[Candidates, int]
) -> None:
    among, width = situation
    assume(reads(name, among))
    made = allocate(name, among, width, **options)
    assert made.counts.dtype == np.int64
    assert made.counts.shape == made.weights.shape == (len(among),)
    assert made.counts.min() >= 0
    assert made.counts.sum() == width
    assert made.weights.min() >= 0
    assert width == 0 or math.isclose(made.weights.sum(), 1)


@every_setup
@quick
@given(situation=situations(), seed=st.integers(0, 2**32 - 1))
def test_counts_follow_the_path_and_not_its_position(
    name: str, options: dict[str, Any], situation: tuple[Candidates, int], seed: int
) -> None:
    among, width = situation
    assume(reads(name, among))
    order = np.random.default_rng(seed).permutation(len(among))
    before, after = allocate(name, among, width, **options), allocate(name, chosen(among, order), width, **options)
    assert after.counts.tolist() == before.counts[order].tolist()
    np.testing.assert_array_equal(after.weights, before.weights[order])
    for original, moved in ((before.uniqueness, after.uniqueness), (before.first_counts, after.first_counts)):
        assert (original is None) == (moved is None)
        assert original is None or moved is None or moved.tolist() == original[order].tolist()


@pytest.mark.parametrize("name", STRATEGIES)
def test_ties_go_to_the_smaller_path_key(name: str) -> None:
    paths = ((3, 0), (1, 1), (2,), (1, 0))
    known = {"lineage": np.zeros(4, dtype=np.int64), "belief": Belief(np.full(4, 0.5), np.full(4, 2.0))}
    made = allocate(name, candidates([0.5] * 4, labelled([0, 1, 2, 3]), paths=paths, **known), 5)
    most = max(zip(made.counts.tolist(), paths, strict=True), key=lambda pair: pair[0])
    expected = {"dora": (1, 1), "dora_two_stage": (1, 1)}  # ⌊5/4 + ½⌋ = 1, ⌊10/4 + ½⌋ = 3: the second of the order
    assert most[1] == expected.get(name, (1, 0))


@quick
@given(situation=situations(), seeds=st.lists(st.integers(0, 2**40), min_size=2, max_size=8))
def test_systematic_is_a_function_of_the_seed(situation: tuple[Candidates, int], seeds: list[int]) -> None:
    among, width = situation
    for seed in seeds:
        seeded = Candidates(among.paths, among.rewards, among.directions, seed=seed)
        made = [allocate("dora", seeded, width, rounding="systematic").counts.tolist() for _ in range(2)]
        assert made[0] == made[1]


@pytest.mark.parametrize(
    "vary",
    [
        lambda index: {"seed": index},
        lambda index: {"question": str(index)},
        lambda index: {"paths": tuple((index, copy) for copy in range(4))},
    ],
    ids=["seed", "question", "paths"],
)
def test_systematic_draws_anew(vary: Callable[[int], dict[str, Any]]) -> None:
    drawn = Counter(
        allocate("rebase", candidates([0.5] * 4, **vary(index)), 1, rounding="systematic").counts.argmax()
        for index in range(400)
    )
    assert len(drawn) == 4
    assert all(60 < times < 140 for times in drawn.values())


@quick
@given(situation=situations())
def test_dora_is_its_formula(situation: tuple[Candidates, int]) -> None:
    among, width = situation
    known = among.directions
    assert known is not None
    size = len(among)
    if known.similarity is not None:
        kernel = [[math.exp((float(known.similarity[i, j]) - 1) / 0.02) for j in range(size)] for i in range(size)]
        unique = [1 / math.fsum(row) for row in kernel]
    elif known.labels is not None:
        unique = [1 / known.labels.tolist().count(label) for label in known.labels.tolist()]
    else:
        assert known.weights is not None
        unique = known.weights.tolist()
    paid = [math.exp(reward / 0.2) * part for reward, part in zip(among.rewards.tolist(), unique, strict=True)]
    made = allocate("dora", among, width, reward_temperature=0.2, similarity_temperature=0.02)
    np.testing.assert_allclose(made.weights, np.array(paid) / math.fsum(paid), rtol=1e-9)
    assert made.uniqueness is not None
    np.testing.assert_allclose(made.uniqueness, np.array(unique), rtol=1e-9)


@quick
@given(
    rewards=st.lists(st.floats(0, 1), min_size=2, max_size=12),
    sizes=st.lists(st.integers(1, 5), min_size=11, max_size=11),
    seed=st.integers(0, 2**32 - 1),
    soft=st.booleans(),
)
def test_copies_of_a_path_do_not_change_what_its_direction_gets(
    rewards: list[float], sizes: list[int], seed: int, soft: bool
) -> None:
    generator = np.random.default_rng(seed)
    across = np.triu(generator.uniform(-0.5, 0.75, (12, 12)), 1)  # exp((0.75 - 1) / 0.01) < 1e-10
    across += across.T + np.eye(12)

    def directions_paid(copies: int) -> FloatArray:
        labels = generator.permutation(np.repeat(np.arange(len(rewards)), [copies, *sizes[: len(rewards) - 1]]))
        directions = Directions(similarity=across[np.ix_(labels, labels)]) if soft else labelled(labels.tolist())
        made = allocate("dora", candidates([rewards[label] for label in labels], directions), 64)
        return totals(made.counts, labels.tolist())

    assert np.abs(directions_paid(1) - directions_paid(40)).max() <= 1


# Limits


@quick
@given(situation=situations())
def test_an_infinite_similarity_temperature_is_rebase(situation: tuple[Candidates, int]) -> None:
    among, width = situation
    known = among.directions
    if known is not None and known.similarity is not None:
        made = allocate("dora", among, width, similarity_temperature=math.inf)
        np.testing.assert_allclose(made.weights, allocate("rebase", among, width).weights, rtol=1e-12)


@quick
@given(rewards=st.lists(st.floats(0, 1), min_size=6, max_size=6), width=st.integers(0, 99))
def test_equal_uniqueness_is_rebase(rewards: list[float], width: int) -> None:
    equal = [
        labelled([0, 1, 2, 3, 4, 5]),
        labelled([0, 0, 1, 1, 2, 2]),
        Directions(weights=np.full(6, 0.3)),
        Directions(similarity=np.full((6, 6), 0.99) + 0.01 * np.eye(6)),
    ]
    weights = allocate("rebase", candidates(rewards), width).weights
    for directions in equal:
        np.testing.assert_allclose(allocate("dora", candidates(rewards, directions), width).weights, weights, rtol=1e-9)


@pytest.mark.parametrize("similarity_temperature", [0, 1e-300, 1e-6])
def test_a_vanishing_similarity_temperature_merges_equals_only(similarity_temperature: float) -> None:
    similarity = np.full((4, 4), 0.99)
    similarity[:2, :2] = similarity[2, 2] = similarity[3, 3] = 1
    soft = candidates([0.1, 0.5, 0.9, 0.8], Directions(similarity=similarity))
    hard = candidates([0.1, 0.5, 0.9, 0.8], labelled([0, 0, 1, 2]))
    made = allocate("dora", soft, 20, similarity_temperature=similarity_temperature)
    np.testing.assert_allclose(made.weights, allocate("dora", hard, 20).weights, rtol=1e-12)


def test_an_infinite_reward_temperature_ignores_the_rewards() -> None:
    paths = candidates([0.1, 0.5, 0.9, 0.8], labelled([0, 0, 0, 1]))
    assert allocate("rebase", paths, 8, reward_temperature=math.inf).weights.tolist() == [0.25] * 4
    np.testing.assert_allclose(
        allocate("dora", paths, 8, reward_temperature=math.inf).weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2]
    )


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("reward_temperature", [0, 1e-6])
def test_a_reward_temperature_of_zero_pays_only_the_best(name: str, reward_temperature: float) -> None:
    paths = candidates([0.1, 0.9, 0.5, 0.9], labelled([0, 1, 1, 1]))
    assert allocate(name, paths, 8, reward_temperature=reward_temperature).counts.tolist() == [0, 4, 0, 4]


# Errors


@pytest.mark.parametrize(
    ("name", "among", "width", "message"),
    [
        ("rebase", candidates([0.5, math.nan]), 4, "finite"),
        ("rebase", candidates([0.5, math.inf]), 4, "finite"),
        ("rebase", candidates([0.5], paths=((0,), (1,))), 4, "finite score"),
        ("temperature", candidates([]), 4, "nothing to allocate"),
        ("temperature", candidates([0.5]), -1, "at least 0, not -1"),
        ("dora", candidates([0.5, 0.5]), 4, "needs directions"),
        ("dora_two_stage", candidates([0.5, 0.5]), 4, "needs directions"),
        ("dora", candidates([0.5, 0.5], labelled([0])), 4, "2 direction labels"),
        ("dora", candidates([0.5, 0.5], Directions()), 4, "exactly one"),
        ("dvts", candidates([0.5, 0.5]), 4, "needs the lineage"),
        ("dvts", candidates([0.5, 0.5], lineage=np.array([0])), 4, "2 lineage entries"),
        ("temperature", candidates([0.5, 0.5], depth=np.array([0])), 4, "depth"),
        ("rebase", candidates([0.5, 0.5], paths=((1,), (1,))), 4, "same path key"),
    ],
)
def test_unusable_candidates_are_refused(name: str, among: Candidates, width: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        allocate(name, among, width)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("temperature", {"beam_width": 4}, "has no option 'beam_width'; it has: none"),
        ("beam", {"width": 4}, "it has: beam_width"),
        ("beam", {"beam_width": 0}, "at least 1"),
        ("beam", {"beam_width": 2.5}, "takes a whole number"),
        ("beam", {"beam_width": True}, "takes a whole number"),
        ("beam", {"beam_width": "4"}, "takes a whole number"),
        ("rebase", {"reward_temperature": "hot"}, "takes a number"),
        ("rebase", {"reward_temperature": None}, "takes a number"),
        ("rebase", {"reward_temperature": False}, "takes a number"),
        ("rebase", {"reward_temperature": -0.1}, "at least 0"),
        ("rebase", {"reward_temperature": math.nan}, "at least 0"),
        ("dora", {"similarity_temperature": -1}, "at least 0"),
        ("dora", {"rounding": 1}, "takes a text"),
        ("dora", {"rounding": "floor"}, "no rounding is called 'floor'"),
    ],
)
def test_unusable_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        STRATEGIES[name].bind(options)


def test_a_whole_number_is_a_beam_width_however_it_is_spelled() -> None:
    paths = candidates([0.1, 0.9, 0.5, 0.2], lineage=np.arange(4))
    for name in ("beam", "dvts"):
        assert allocate(name, paths, 4, beam_width=4.0).counts.tolist() == [0, 4, 0, 0]


# A user's own strategy


@pytest.mark.parametrize(
    "made",
    [
        np.array([3, 2]),
        np.array([3, 0]),
        np.array([5, -1]),
        np.array([4, 0, 0]),
        np.array([[4, 0]]),
        np.array([3.5, 0.5]),
        np.array([np.nan, 4.0]),
        None,
        Allocation(np.array([3, 2]), np.array([0.5, 0.5])),
        Allocation(np.array([4, 0]), np.array([1.0])),
    ],
    ids=repr,
)
def test_an_error_names_the_strategy_that_breaks_its_contract(made: Any) -> None:
    broken = Strategy("broken", lambda candidates, width, options: made)
    with pytest.raises(AllocationError, match="'broken'"):
        broken.bind()(candidates([0.1, 0.9]), 4)


def test_a_strategy_without_declared_options_gets_every_option() -> None:
    seen = []

    def first_takes_all(among: Candidates, width: int, options: dict[str, Any]) -> IntArray:
        seen.append(options)
        return np.array([width] + [0] * (len(among) - 1))

    mine = Strategy("mine", first_takes_all, options=None)
    made = mine.bind({"anything": "goes"})(candidates([0.1, 0.9, 0.5], paths=((2,), (1,), (3,))), 4)
    assert made.counts.tolist() == [0, 4, 0]  # it received its candidates sorted by key
    assert made.weights.tolist() == [0, 1, 0]
    assert seen == [{"anything": "goes"}]


def test_annotations_of_a_users_options_may_be_strings() -> None:
    for annotation in (str, "str"):
        options = make_dataclass("Options", [("mode", annotation, "even")])
        mine = Strategy("mine", lambda among, width, bound: np.array([width if bound.mode == "all" else 0]), options)
        assert mine.bind({"mode": "all"})(candidates([0.5]), 3).counts.tolist() == [3]
