"""Directions from text: windows of a path, and the embeddings of a server that rejects texts or is lost."""

import asyncio
from typing import Any

import numpy as np
import pytest
from served import FAST, PROBLEM, QUESTION, WAYS, Emulator, emulated
from walking import closing

import rollwise
from rollwise.bench.store import Outcome
from rollwise.core import Failure, Path, Sampling, Step, Stop
from rollwise.directions.finders import KNOWN, EmbeddingSession, EqualSteps, _InThread, window
from rollwise.engines.http.embedder import HttpEmbedder
from rollwise.engines.http.policy import HttpPolicy
from rollwise.errors import InputError
from rollwise.report.search import round_line
from rollwise.search.events import rounds
from rollwise.search.records import event_records
from rollwise.testing import faulty
from rollwise.testing.cases import NoPolicy


def path_of(*texts: str) -> Path:
    return Path((0,) * len(texts), tuple(Step(text, 1, Stop.STEP) for text in texts))


def test_windows_of_a_path() -> None:
    path = path_of("one two\n\n", "three  four\n\n")
    assert window("whole")(path) == "one two\n\nthree  four\n\n"
    assert window("step")(path) == "three  four\n\n"
    assert window("tail(3)")(path) == "two three four"
    assert window("step")(path_of("one\n\n", "\n\n")) == "one\n\n\n\n"
    for wrong in ("", "tail", "tail(0)", "half"):
        with pytest.raises(InputError, match="window"):
            window(wrong)


def test_equal_last_steps_have_equal_labels_after_any_steps(served: Emulator) -> None:
    session = EqualSteps().open(PROBLEM, HttpPolicy(served.url).open(PROBLEM, Sampling()))
    found = asyncio.run(session.find([path_of("a", "X  is\n1"), path_of("b", " x is 1 \n"), path_of("a", "x is 2")]))
    labels = [evidence.label for evidence in found if not isinstance(evidence, Failure)]
    assert labels[0] == labels[1] != labels[2]


def test_only_new_texts_are_embedded_and_each_path_gets_its_own_embedding() -> None:
    with emulated("vllm") as server:
        embedder = HttpEmbedder(server.url, "step")
        assert embedder.size == 10
        server.log.clear()

        async def rounds() -> tuple[Any, int]:
            session: Any = embedder.open(PROBLEM, HttpPolicy(server.url).open(PROBLEM, Sampling()))
            await session.find([path_of("11"), path_of("2"), path_of("11")])
            found = await session.find([path_of("11", "2"), path_of("11", "333")])
            await session.close()
            return found, session.usage.prefilled

        found, read = asyncio.run(rounds())
    assert [body["input"] for body in server.bodies("/v1/embeddings")] == [["11", "2"], ["333"]]
    assert read == len("11" + "2" + "333")
    np.testing.assert_allclose([evidence.embedding[2:4] for evidence in found], [[1.01, 0.01], [0.01, 3.01]])


async def evidence_on(embedder: HttpEmbedder, texts: list[str]) -> list[Any]:
    session: Any = embedder.open(PROBLEM, HttpPolicy(embedder.addresses[0].url).open(PROBLEM, Sampling()))
    try:
        return list(await session.find([path_of(text) for text in texts]))
    finally:
        await session.close()


@pytest.mark.parametrize(("status", "tries"), [(400, (1, 1)), (500, (4, 2))])
@pytest.mark.parametrize("bad", [0, 21, 63])
def test_halving_a_batch_finds_the_text_that_cannot_be_embedded(status: int, tries: tuple[int, int], bad: int) -> None:
    texts = [str(1000 + index) for index in range(64)]
    texts[bad] = "2" * 13
    with emulated("vllm", longest_embedded=12, refuses_by=status) as server:
        embedder = HttpEmbedder(server.url, "step", patience=FAST)
        server.log.clear()
        found = asyncio.run(evidence_on(embedder, texts))
        asked = [body["input"] for body in server.bodies("/v1/embeddings")]
    for text, evidence in zip(texts, found, strict=True):
        if text == texts[bad]:
            assert (evidence.embedding, evidence.unplaced is None) == (None, False)
            assert "a text is too long" in evidence.unplaced
        else:
            np.testing.assert_allclose(evidence.embedding, [text.count(digit) + 0.01 for digit in "0123456789"])
    first, later = tries
    assert asked.count(texts) == first
    assert asked.count([KNOWN]) == 7
    bad_halves, good_halves, tests_of_the_embedder = 6 * later, 6, 7
    assert len(asked) == first + bad_halves + good_halves + tests_of_the_embedder


def test_a_lost_embedder_is_not_asked_text_by_text() -> None:
    with emulated("vllm") as server, faulty(server.url, 0.0, kinds=("drop",)) as proxy:
        embedder = HttpEmbedder(proxy.url, "step", patience=FAST)
        proxy.share = 1.0
        for count, most in ((1, 10), (64, 10), (130, 18)):  # later batches are tried twice
            proxy.outcomes.clear()
            session: Any = embedder.open(PROBLEM, NoPolicy())
            found = asyncio.run(closing(session, session.find([path_of(str(index)) for index in range(count)])))
            assert [type(result) for result in found] == [Failure] * count
            assert "tried 8 times" in found[0].reason
            assert len(proxy.outcomes) == most


def test_embeddings_survive_a_faulty_connection(served: Emulator) -> None:
    texts = [str(index) for index in range(200)]
    plain = asyncio.run(evidence_on(HttpEmbedder(served.url, patience=FAST), texts))
    with faulty(served.url, 0.3, kinds=("drop", "truncate", "500", "garbage")) as proxy:
        embedder = HttpEmbedder(proxy.url, patience=FAST)
        session: Any = embedder.open(PROBLEM, NoPolicy())
        found = asyncio.run(closing(session, session.find([path_of(text) for text in texts])))
    np.testing.assert_array_equal([each.embedding for each in found], [each.embedding for each in plain])


def test_a_search_continues_if_solutions_outgrow_the_embedder() -> None:
    longest = max(len(way[0]) for way in WAYS)
    fields: dict[str, Any] = {"budget": 8, "strategy": "dora", "world": "countdown", "reward": "confidence"}
    with emulated("vllm", longest_embedded=longest) as server:
        solution = rollwise.solve(QUESTION, policy=server.url, directions=server.url, **fields)
    assert (len(solution.finished), solution.failures) == (8, ())
    assert len([note for note in solution.notes if note.startswith("the direction of 8 paths is unknown")]) == 1
    first, second, third = rounds(solution.events)
    assert [event.unplaced is None for event in (*first.grown, *third.grown)] == [True] * 16
    assert all("too long" in str(event.unplaced) for event in second.grown)
    assert second.allocated is not None
    assert second.allocated.allocation.effective_directions == 8
    assert "8 unplaced" in round_line(second).plain
    assert "too long" in event_records(second.grown, {})[0]["unplaced"]
    assert Outcome.of(solution).unplaced == 8


def test_a_lost_embedder_costs_the_rollouts_that_need_it(served: Emulator) -> None:
    with faulty(served.url, 0.0, kinds=("drop",)) as proxy:
        embedder = HttpEmbedder(proxy.url, patience=FAST)
        proxy.share = 1.0
        solution = rollwise.solve(QUESTION, "dora", 8, policy=served.url, directions=embedder)
    assert len(solution.failures) == 8
    assert all("tried 8 times" in reason for reason in solution.failures)


@pytest.mark.parametrize(("bad", "unplaced"), [("a text", 1), (KNOWN, 0)])
def test_a_text_that_breaks_a_local_embedder_costs_no_other_text(bad: str, unplaced: int) -> None:
    class Model:
        """Raises at one text, or at every text if the bad text is KNOWN."""

        def embed(self, texts: list[str]) -> Any:
            if bad == KNOWN or bad in texts:
                raise RuntimeError("out of memory")
            return np.array([[len(text), 1.0] for text in texts])

        def tokens(self, texts: list[str]) -> int:
            return sum(map(len, texts))

    session = EmbeddingSession(_InThread(Model()), window("whole"))  # type: ignore[arg-type]
    found: list[Any] = list(asyncio.run(session.find([path_of(text) for text in ("one", "a text", "three")])))
    if not unplaced:
        assert found == [Failure("RuntimeError: out of memory")] * 3
        return
    assert [evidence.unplaced for evidence in found] == [None, "RuntimeError: out of memory", None]
    assert [found[0].embedding[0], found[2].embedding[0]] == [3, 5]
    assert session.usage.prefilled == len("one" + "three") + 3 * len(KNOWN)


def test_directions_from_an_embedding_server(served: Emulator) -> None:
    solution = rollwise.solve(QUESTION, budget=8, policy=served.url, directions=served.url, window="step")
    distinct = {text for way in WAYS for text in way[:2]}
    assert solution.ledger.usage["embedder"].prefilled == sum(map(len, distinct))
    assert len(solution.finished) == 8
    with emulated("vllm", embeds=False) as server, pytest.raises(InputError, match="does not embed"):
        HttpEmbedder(server.url)
