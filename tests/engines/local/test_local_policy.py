"""The local engine on tiny random models in float64, compared with transformers and with independent arithmetic."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tiny import tiny_model

from rollwise.core import Failure, Path, Problem, Sampling, Step, Stop
from rollwise.engines import step_rule
from rollwise.engines.local.policy import LocalPolicy, LocalSession
from rollwise.engines.local.stops import StopRule
from rollwise.errors import EngineError, InputError
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
SEPARATOR, END = TOKENIZER.convert_tokens_to_ids(WORLD.separator), TOKENIZER.eos_token_id
KINDS = ("Llama", "Qwen2", "Qwen3")
PATIENCE = 30.0


NUMBERS = [literal for literal in WORLD.literals if literal.isdigit()]
SHORT_NUMBERS = [TOKENIZER.convert_tokens_to_ids(text) for text in NUMBERS if len(text) < max(map(len, NUMBERS))]


def stopping_model(
    kind: str = "Llama", separator: float = 6.5, end: float = 5.0, merging: float = -99.0, **config: Any
) -> Any:
    """A random decoder with grouped key-value heads. Biases on its head make steps and texts end now and then.

    `merging` is the bias of tokens that the tokenizer would merge with a neighbour: it encodes the text of 1 and 2 as
    12.
    """
    options: dict[str, Any] = {
        "head_dim": 8,
        "max_position_embeddings": 256,
        "initializer_range": 0.4,
        "tie_word_embeddings": False,
        "bos_token_id": None,
    } | config
    model = tiny_model(f"{kind}ForCausalLM", TOKENIZER, **options)
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()
        head.bias[SHORT_NUMBERS] = merging
        head.bias[SEPARATOR], head.bias[END] = separator, end
    model.set_output_embeddings(head)
    return model.double().eval()


def tiny_policy(kind: str = "Llama", rows: int = 8, **model: Any) -> LocalPolicy:
    return LocalPolicy(stopping_model(kind, **model), TOKENIZER, WORLD.separator, rows)


@pytest.fixture(scope="module", params=KINDS)
def each_policy(request: pytest.FixtureRequest) -> LocalPolicy:
    return tiny_policy(request.param)


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    return tiny_policy()


def prompt(problem: Problem) -> list[int]:
    text = f"<|user|>{problem.question}<|assistant|>"
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def plain_logits(policy: LocalPolicy, problem: Problem, text: str = "") -> Any:
    """Next-token logits after one forward pass over everything."""
    ids = prompt(problem) + TOKENIZER(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([ids])).logits[0, -1]


async def grow(session: LocalSession, paths: Sequence[Path]) -> list[Path]:
    """Grow each path by a step; no step may fail."""
    steps = await asyncio.wait_for(session.extend(paths), PATIENCE)
    assert all(isinstance(step, Step) for step in steps), steps
    return [path.grown(step) for path, step in zip(paths, steps, strict=True) if isinstance(step, Step)]


def going(paths: Sequence[Path]) -> list[Path]:
    return [path.copy(0) for path in paths if path.steps[-1].stop is not Stop.END]


async def sample(
    policy: LocalPolicy, problem: Problem, sampling: Sampling, count: int = 6, rounds: int = 3, keep: bool = True
) -> list[Path]:
    """`count` paths of a question after `rounds` rounds, including ended paths, in the order of their keys."""
    session = policy.open(problem, sampling)
    active, ended = [Path((index,)) for index in range(count)], []
    for _ in range(rounds):
        grown = await grow(session, active)
        ended += [path for path in grown if path.steps[-1].stop is Stop.END]
        active = going(grown)
        session.retain([path.key[:-1] for path in active] if keep else [])
    await session.close()
    return sorted(ended + active, key=lambda path: path.key)


def plain(paths: Sequence[Path]) -> list[tuple[tuple[str, int, Stop], ...]]:
    return [tuple((step.text, step.tokens, step.stop) for step in path.steps) for path in paths]


def assert_same(some: Sequence[Path], others: Sequence[Path]) -> None:
    """The steps are equal; log-probabilities are sums of floats, so they are equal up to rounding."""
    assert plain(some) == plain(others)
    logprobs = [[step.logprob for path in paths for step in path.steps] for paths in (some, others)]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-9)


async def test_greedy_steps_are_the_one_shot_greedy_text(each_policy: LocalPolicy) -> None:
    stops = Counter[Stop]()
    for seed in range(12):
        problem = WORLD.problem(3, seed)
        (path,) = await sample(each_policy, problem, Sampling(0.0, max_step_tokens=5), count=1, rounds=9)
        ended = path.steps[-1].stop is Stop.END
        ids = torch.tensor([prompt(problem)])
        with torch.no_grad():
            whole = each_policy.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=45 if ended else path.tokens
            )
        assert TOKENIZER.decode(whole[0, ids.shape[1] :]) == path.text + TOKENIZER.eos_token * ended
        assert sum(step.tokens for step in path.steps) == whole.shape[1] - ids.shape[1]
        for step in path.steps:
            assert step.text.endswith(WORLD.separator) == (step.stop is Stop.STEP)
            assert WORLD.separator not in step.text[:-1]
            assert (step.tokens == 5) >= (step.stop is Stop.LENGTH)
        stops.update(step.stop for step in path.steps)
    assert set(stops) == set(Stop)


async def test_kept_caches_equal_a_plain_forward_after_forks_and_prunes(each_policy: LocalPolicy) -> None:
    problem = WORLD.problem(4, 1)
    session = each_policy.open(problem, Sampling(1.0, max_step_tokens=7, seed=3))
    active = [Path((index,)) for index in range(7)]
    checked = 0
    for turn in range(6):
        grown = [path for path in await grow(session, active) if path.steps[-1].stop is not Stop.END]
        best, *others = grown[turn % len(grown) :] + grown[: turn % len(grown)]
        kept = [best, *others[:2]]
        session.retain([path.key for path in kept])
        assert set(session.nodes) == {path.key for path in kept}
        for path in kept:
            with torch.no_grad():
                cached = each_policy.logits(session.nodes[path.key])
            np.testing.assert_allclose(cached, plain_logits(each_policy, problem, path.text), atol=1e-10, rtol=0)
            checked += 1
        active = [best.copy(index) for index in range(5)] + [path.copy(0) for path in others[:2]]
    assert checked >= 12
    assert max(len(path.steps) for path in active) == 6


async def test_the_log_probability_of_a_step_is_the_models_at_temperature_one(policy: LocalPolicy) -> None:
    problem = WORLD.problem(2, 0)
    for path in await sample(policy, problem, Sampling(1.6, top_p=0.9, max_step_tokens=6), rounds=2):
        text = ""
        for step in path.steps:
            ids = TOKENIZER(step.text, add_special_tokens=False)["input_ids"] + [END] * (step.stop is Stop.END)
            expected = 0.0
            for token in ids:
                expected += float(torch.log_softmax(plain_logits(policy, problem, text), -1)[token])
                text += TOKENIZER.decode([token])
            assert step.logprob == pytest.approx(expected, abs=1e-9)


async def test_the_hidden_state_is_the_backbones_last(policy: LocalPolicy) -> None:
    problem = WORLD.problem(2, 0)
    session = policy.open(problem, Sampling(max_step_tokens=5, seed=1))
    (path,) = await grow(session, [Path((0,))])
    ids = prompt(problem) + TOKENIZER(path.text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = policy.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    np.testing.assert_allclose(session.hidden((0,)), expected, atol=1e-10, rtol=0)
    session.retain([])
    with pytest.raises(EngineError, match="no cache"):
        session.hidden((0,))


async def test_results_do_not_depend_on_the_batch(policy: LocalPolicy) -> None:
    problems = [WORLD.problem(level, 5) for level in (1, 2, 4, 5)]
    sampling = Sampling(0.8, max_step_tokens=10, seed=2)
    alone = [await sample(policy, problem, sampling) for problem in problems]
    assert len({str(plain(paths)) for paths in alone}) == 4
    for rows in (1, 4, 64):
        batched = LocalPolicy(policy.model, TOKENIZER, WORLD.separator, rows)
        together = await asyncio.gather(*(sample(batched, problem, sampling) for problem in problems))
        for paths, others in zip(alone, together, strict=True):
            assert_same(paths, others)


async def test_questions_of_different_sampling_share_a_batch(policy: LocalPolicy) -> None:
    problem = WORLD.problem(3, 3)
    samplings = [
        Sampling(0.0, max_step_tokens=4),
        Sampling(0.7, top_p=0.5, max_step_tokens=9),
        Sampling(1.5, max_step_tokens=6, seed=1),
    ]
    alone = [await sample(policy, problem, sampling) for sampling in samplings]
    together = await asyncio.gather(*(sample(policy, problem, sampling) for sampling in samplings))
    for paths, others in zip(alone, together, strict=True):
        assert_same(paths, others)


async def test_dropped_caches_are_read_again(policy: LocalPolicy) -> None:
    problem, sampling = WORLD.problem(4, 2), Sampling(1.0, max_step_tokens=8, seed=4)
    kept = await sample(policy, problem, sampling, rounds=4)
    assert max(len(path.steps) for path in kept) == 4
    assert_same(kept, await sample(policy, problem, sampling, rounds=4, keep=False))


async def test_a_dropped_cache_is_read_from_the_sampled_tokens_not_from_their_text() -> None:
    policy = tiny_policy(merging=4.0)
    problem, sampling = WORLD.problem(4, 2), Sampling(1.0, max_step_tokens=8, seed=4)
    kept = await sample(policy, problem, sampling, rounds=3)
    assert any(len(TOKENIZER(path.steps[0].text)["input_ids"]) < path.steps[0].tokens - 1 for path in kept)
    assert_same(kept, await sample(policy, problem, sampling, rounds=3, keep=False))


async def test_the_seed_decides_the_steps(policy: LocalPolicy) -> None:
    problem = WORLD.problem(3, 1)
    samplings = [Sampling(1.0, max_step_tokens=8, seed=seed) for seed in (1, 1, 2)]
    first, again, other = [await sample(policy, problem, sampling) for sampling in samplings]
    assert plain(first) == plain(again)
    assert plain(first) != plain(other)
    assert len({path.text for path in first}) > 1


async def test_sessions_of_one_seed_share_their_first_round(policy: LocalPolicy) -> None:
    problem, sampling = WORLD.problem(3, 4), Sampling(1.0, max_step_tokens=8, seed=6)
    few, many = await asyncio.gather(*(sample(policy, problem, sampling, count, rounds=1) for count in (4, 11)))
    assert plain(few) == plain(many)[:4]
    session = policy.open(problem, sampling)
    backwards = await grow(session, [Path((index,)) for index in (3, 1, 0, 2)])
    assert plain(sorted(backwards, key=lambda path: path.key)) == plain(few)


async def first_tokens(policy: LocalPolicy, problem: Problem, sampling: Sampling, count: int) -> Counter[int]:
    paths = await sample(policy, problem, sampling, count, rounds=1)
    texts = [path.text if path.steps[0].stop is not Stop.END else TOKENIZER.eos_token for path in paths]
    return Counter(TOKENIZER(text, add_special_tokens=False)["input_ids"][0] for text in texts)


def goodness_of_fit(counts: Counter[int], probabilities: Any) -> float:
    """The p-value of Pearson's test; tokens that are expected less than five times form one cell."""
    expected = np.asarray(probabilities) * counts.total()
    observed = np.array([counts[token] for token in range(len(expected))])
    often = expected >= 5
    assert observed[expected == 0].sum() == 0
    seen = [*observed[often], observed[~often].sum()]
    hoped = [*expected[often], expected[~often].sum()]
    cells = len(seen) if hoped[-1] > 0 else -1
    return float(stats.chisquare(seen[:cells], hoped[:cells]).pvalue)


async def test_first_tokens_follow_the_models_distribution() -> None:
    policy = tiny_policy(rows=64, merging=0.0)
    problem = WORLD.problem(3, 0)
    logits = plain_logits(policy, problem)
    counts = await first_tokens(policy, problem, Sampling(0.9, max_step_tokens=1), 3000)
    assert goodness_of_fit(counts, torch.softmax(logits / 0.9, -1)) > 1e-3
    assert goodness_of_fit(counts, torch.softmax(logits / 1.1, -1)) < 1e-3


@pytest.mark.parametrize("top_p", [0.3, 0.7, 0.95])
async def test_top_p_samples_the_nucleus_and_nothing_else(top_p: float) -> None:
    policy = tiny_policy(rows=64)
    problem = WORLD.problem(3, 0)
    probabilities = torch.softmax(plain_logits(policy, problem) / 1.2, -1).tolist()
    nucleus, mass = dict[int, float](), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if mass < top_p:
            nucleus[token] = probabilities[token]
            mass += probabilities[token]
    assert 1 < len(nucleus) < len(probabilities)
    counts = await first_tokens(policy, problem, Sampling(1.2, top_p, max_step_tokens=1), 1500)
    assert set(counts) <= set(nucleus)
    assert goodness_of_fit(counts, [nucleus.get(token, 0.0) / mass for token in range(len(probabilities))]) > 1e-3


async def test_every_token_is_counted_once() -> None:
    policy = tiny_policy(separator=6.0, end=-99.0)
    problem = WORLD.problem(4, 6)
    session = policy.open(problem, Sampling(1.0, max_step_tokens=8))
    length = len(prompt(problem))

    first = await grow(session, [Path((index,)) for index in range(9)])
    generated = sum(path.tokens for path in first)
    usage = session.usage
    assert (usage.generated, usage.prefilled, usage.cached, usage.calls) == (generated, length, 8 * length, 1)

    session.retain([(0,), (1,)])
    second = await grow(session, [first[0].copy(0), first[0].copy(1), first[1].copy(0)])
    generated += sum(path.steps[-1].tokens for path in second)
    cached = 8 * length + 3 * length + 2 * first[0].tokens + first[1].tokens
    assert (usage.generated, usage.prefilled, usage.cached, usage.calls) == (generated, length, cached, 2)

    session.retain([])
    third = await grow(session, [second[0].copy(0), second[0].copy(1), second[2].copy(0)])
    generated += sum(path.steps[-1].tokens for path in third)
    prefilled = length + (length + second[0].tokens) + (length + second[2].tokens)
    cached += length + second[0].tokens
    assert (usage.generated, usage.prefilled, usage.cached, usage.calls) == (generated, prefilled, cached, 3)


async def test_a_long_step_is_cut_and_goes_on() -> None:
    """150 tokens, more than the engine first has room for, as one step and as thirty cut steps."""
    policy = tiny_policy(separator=-99.0, end=-99.0)
    problem = WORLD.problem(1, 1)
    ids = torch.tensor([prompt(problem)])
    (whole,) = await sample(policy, problem, Sampling(0.0, max_step_tokens=150), count=1, rounds=1)
    (cut,) = await sample(policy, problem, Sampling(0.0, max_step_tokens=5), count=1, rounds=30)
    assert [(step.tokens, step.stop) for step in whole.steps] == [(150, Stop.LENGTH)]
    assert [(step.tokens, step.stop) for step in cut.steps] == [(5, Stop.LENGTH)] * 30
    with torch.no_grad():
        text = policy.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=150, max_new_tokens=150
        )
    assert whole.text == cut.text == TOKENIZER.decode(text[0, ids.shape[1] :])


async def test_the_context_ends_a_path_and_refuses_a_question() -> None:
    problem = WORLD.problem(1, 1)
    length = len(prompt(problem))
    policy = tiny_policy(separator=-99.0, end=-99.0, max_position_embeddings=length + 5)
    session = policy.open(problem, Sampling(max_step_tokens=8))
    (path,) = await grow(session, [Path((0,))])
    assert (path.tokens, path.steps[0].stop) == (5, Stop.LENGTH)
    (step,) = await session.extend([path.copy(0)])
    assert isinstance(step, Failure)
    assert "context" in step.reason
    assert len(await grow(session, [Path((1,))])) == 1

    narrow = tiny_policy(max_position_embeddings=length)
    with pytest.raises(InputError, match=f"{length} tokens .* {length} at most"):
        narrow.open(problem, Sampling())


def failing(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """The function, but its call number `call` raises."""
    calls = iter(range(10**6))

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise RuntimeError("out of memory")
        return function(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("call", [0, 1, 3], ids=["reading the prompt", "first token", "third token"])
async def test_an_error_in_the_model_costs_the_paths_and_not_the_engine(
    call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, sampling = WORLD.problem(3, 0), Sampling(1.0, max_step_tokens=8)
    policy = tiny_policy(end=-99.0)
    expected = await sample(policy, problem, sampling)
    session = policy.open(problem, sampling)
    monkeypatch.setattr(policy.model.model, "forward", failing(policy.model.model.forward, call))
    outcomes = await asyncio.wait_for(session.extend([Path((index,)) for index in range(6)]), PATIENCE)
    failures = [outcome.reason for outcome in outcomes if isinstance(outcome, Failure)]
    assert failures
    assert set(failures) == {"RuntimeError: out of memory"}
    for path, outcome in zip(expected, outcomes, strict=True):
        assert isinstance(outcome, Failure) or outcome == path.steps[0]
    assert_same(await sample(policy, problem, sampling), expected)


def test_a_caller_that_went_away_does_not_take_the_engine_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's interrupted cell closes its event loop while the engine still works for it."""
    policy = tiny_policy(end=-99.0)
    sampling = Sampling(1.0, max_step_tokens=8)
    problems = [WORLD.problem(3, seed) for seed in range(3)]
    expected = asyncio.run(sample(policy, problems[0], sampling))
    forward, gate = policy.model.model.forward, threading.Event()

    def gated(*arguments: Any, **options: Any) -> Any:
        gate.wait(PATIENCE)
        return forward(*arguments, **options)

    monkeypatch.setattr(policy.model.model, "forward", gated)

    async def leave() -> None:
        sessions = [policy.open(problem, sampling) for problem in problems]
        calls = [asyncio.create_task(session.extend([Path((0,)), Path((1,))])) for session in sessions]
        await asyncio.wait(calls, timeout=0.1)

    asyncio.run(leave())
    gate.set()
    assert_same(asyncio.run(sample(policy, problems[0], sampling)), expected)


async def test_a_cancelled_call_leaves_the_session_usable(policy: LocalPolicy) -> None:
    problem, sampling = WORLD.problem(3, 0), Sampling(1.0, max_step_tokens=8)
    expected = await sample(policy, problem, sampling, count=3, rounds=1)
    session = policy.open(problem, sampling)
    call = asyncio.create_task(session.extend([Path((0,)), Path((1,))]))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert_same(await grow(session, [Path((index,)) for index in range(3)]), expected)


async def test_a_question_that_is_given_up_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is given up while the decoder, which has just admitted its next step, reads another prompt."""
    policy, sampling = tiny_policy(rows=16, end=-99.0), Sampling(1.0, max_step_tokens=8)
    problems = [WORLD.problem(3, seed) for seed in range(3)]
    expected = [await sample(policy, problem, sampling, rounds=2, count=2) for problem in problems]
    sessions = [policy.open(problem, sampling) for problem in problems]
    roots = [Path((0,)), Path((1,))]
    grown = [going(await grow(session, roots)) for session in sessions[:2]]
    forward, calls = policy.model.model.forward, iter(range(10**6))
    queued, reading, gate = threading.Event(), threading.Event(), threading.Event()

    def gated(*arguments: Any, **options: Any) -> Any:
        call = next(calls)
        if call == 0:
            queued.wait(PATIENCE)
        if call == 2:
            reading.set()
            gate.wait(PATIENCE)
        return forward(*arguments, **options)

    monkeypatch.setattr(policy.model.model, "forward", gated)
    before = policy.open(problems[0], Sampling(max_step_tokens=1))
    first = asyncio.create_task(before.extend([Path((0,))]))
    await asyncio.sleep(0)
    given_up = asyncio.create_task(sessions[0].extend(grown[0]))
    others = [
        asyncio.create_task(grow(session, paths))
        for session, paths in zip(sessions[1:], [grown[1], roots], strict=True)
    ]
    await asyncio.sleep(0)
    queued.set()
    await asyncio.to_thread(reading.wait, PATIENCE)
    await first
    given_up.cancel()
    await sessions[0].close()
    gate.set()
    assert_same(await others[0], expected[1])
    assert plain(await others[1]) == [steps[:1] for steps in plain(expected[2])]
    assert sessions[0].nodes == {}


async def test_nothing_is_computed_for_a_session_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy(rows=4, separator=-99.0, end=-99.0)
    session = policy.open(WORLD.problem(3, 0), Sampling(1.0, max_step_tokens=100))
    forward, sampled = policy.model.model.forward, threading.Event()
    gate, calls = threading.Event(), list[int]()

    def gated(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            sampled.set()
            gate.wait(PATIENCE)
        return forward(*arguments, **options)

    monkeypatch.setattr(policy.model.model, "forward", gated)
    call = asyncio.create_task(session.extend([Path((index,)) for index in range(9)]))
    await asyncio.to_thread(sampled.wait, PATIENCE)
    await session.close()
    gate.set()
    outcomes = await asyncio.wait_for(call, PATIENCE)
    assert outcomes == [Failure("the session is closed")] * 9
    assert await session.extend([Path((9,))]) == [Failure("the session is closed")]
    assert len(calls) == 3
    assert session.nodes == {}


async def test_a_step_that_is_over_when_its_session_closes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy(separator=-99.0, end=-99.0)
    session = policy.open(WORLD.problem(3, 0), Sampling(1.0, max_step_tokens=1))
    forward, calls = policy.model.model.forward, list[int]()

    def closing(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            asyncio.run(session.close())
        return forward(*arguments, **options)

    monkeypatch.setattr(policy.model.model, "forward", closing)
    await asyncio.wait_for(session.extend([Path((0,)), Path((1,))]), PATIENCE)
    assert len(calls) == 2
    assert session.nodes == {}


async def test_a_padded_vocabulary_does_not_break_the_engine() -> None:
    """Checkpoints such as Qwen's have more embeddings than the tokenizer has tokens."""
    policy = tiny_policy(vocab_size=len(TOKENIZER) + 400, separator=-99.0, end=-99.0)
    paths = await sample(policy, WORLD.problem(3, 0), Sampling(2.0, max_step_tokens=12), rounds=1)
    assert all(path.steps[0].tokens == 12 for path in paths)


@pytest.mark.parametrize(
    ("kind", "config"), [("Mistral", {"sliding_window": 8}), ("Granite", {"logits_scaling": 4.0}), ("Gemma2", {})]
)
async def test_a_model_is_computed_correctly_or_refused(kind: str, config: dict[str, Any]) -> None:
    """Attention windows, scaled logits, capped logits: the engine refuses a model that needs what it does not do."""
    problem = WORLD.problem(3, 0)
    try:
        policy = tiny_policy(kind, separator=-99.0, end=-99.0, **config)
        session = policy.open(problem, Sampling(1.0, max_step_tokens=12))
    except InputError:
        return
    (path,) = await grow(session, [Path((0,))])
    with torch.no_grad():
        cached = policy.logits(session.nodes[path.key])
    np.testing.assert_allclose(cached, plain_logits(policy, problem, path.text), atol=1e-10, rtol=0)


def test_a_model_without_an_end_of_text_is_refused() -> None:
    model = stopping_model()
    model.generation_config.eos_token_id = None
    endless: Any = build_tokenizer(WORLD.literals)
    endless.eos_token = None
    with pytest.raises(InputError, match="eos_token_id"):
        LocalPolicy(model, endless, WORLD.separator)
    assert LocalPolicy(model, TOKENIZER).end_tokens == {END}
    model.generation_config.eos_token_id = [END, SEPARATOR]
    assert LocalPolicy(model, endless).end_tokens == {END, SEPARATOR}


def test_a_stop_text_ends_a_local_solution() -> None:
    """The text up to the stop equals the text that is sampled without it."""
    model = stopping_model()
    free = LocalPolicy(model, TOKENIZER, WORLD.separator, 4)
    stopping = LocalPolicy(model, TOKENIZER, WORLD.separator, 4, step_rule=step_rule("separator", "\n\n", ["1"]))
    problem, ended = WORLD.problem(2, 3), 0
    for seed in range(12):
        sampling = Sampling(seed=seed, max_step_tokens=12)
        (without,), (with_stop,) = (first_step(policy, problem, sampling) for policy in (free, stopping))
        assert isinstance(without, Step)
        assert isinstance(with_stop, Step)
        assert with_stop.text == without.text.partition("1")[0]
        assert (with_stop.stop is Stop.END) == ("1" in without.text or without.stop is Stop.END)
        ended += "1" in without.text
    assert ended >= 3


def first_step(policy: LocalPolicy, problem: Problem, sampling: Sampling) -> list[Step | Failure]:
    async def one_step() -> list[Step | Failure]:
        session = policy.open(problem, sampling)
        try:
            return await session.extend([Path((0,))])
        finally:
            await session.close()

    return asyncio.run(one_step())


def test_a_local_prompt_as_plain_text_and_with_a_template() -> None:
    problem = WORLD.problem(2, 3)
    model = stopping_model()
    plain = LocalPolicy(model, TOKENIZER, template="none")
    assert plain.prompt_tokens(problem) == TOKENIZER(f"{problem.question}\n\n")["input_ids"]
    given = LocalPolicy(model, TOKENIZER, template="{{ messages[0].content }}left: ")
    assert given.prompt_tokens(problem) == TOKENIZER(f"{problem.question}left: ")["input_ids"]
    assert not plain.remarks
    base: Any = build_tokenizer(WORLD.literals)
    base.chat_template = None
    bare = LocalPolicy(model, base)
    assert bare.prompt_tokens(problem) == plain.prompt_tokens(problem)
    assert "no chat template" in bare.remarks[0]


def test_a_stop_string_that_ends_no_step_does_not_stop_the_engine() -> None:
    pieces = {string: TOKENIZER(string, add_special_tokens=False)["input_ids"] for string in ("1 + 2", "3 = ")}
    table = tiny_policy().stops
    rule = StopRule((" = ", "+ 2"), confirm=lambda text: text.startswith("3"))
    assert table.completes(rule, pieces["3 = "])
    assert not table.completes(rule, pieces["1 + 2"])
