r"""its_hub's beam search and particle filter compared with searches of rollwise, on the same served models.

    rollwise serve-model --port 8000                      # in an environment with rollwise[local,serve]
    pip install 'its_hub[lm]==1.2.0' rollwise             # in the environment of this script; no torch
    python experiments/beside_its_hub.py http://127.0.0.1:8000 --out runs/its_hub.jsonl

A contender is `rollwise/STRATEGY@N`, `its_hub/beam@BUDGET` or `its_hub/particles@BUDGET`. The contenders take turns on
the same block of questions, and every block begins with another contender. All questions of a block are searched at
once. Searches with a result in the file do not run again. its_hub runs with these settings:

- Policy: `OpenAICompatibleLanguageModel` with `continue_final_message`. The script removes the field `extra_body`,
  which this server does not know; its_hub sends the content of the field at the top level too. The most tokens a step
  and the temperature are those of rollwise.
- `StepGeneration` with the world's separator as `step_token`, the box of an answer as `stop_token`, so that no ended
  path continues with empty steps, and the same maximum of steps as rollwise.
- Reward: the route and the client of rollwise. its_hub passes whole texts without their last separator. The adapter
  adds what the reward model was trained on: the separator, or the end of the text after a boxed answer.
- its_hub's answer is its own choice (`the_one`: most reward, most weight). The table also counts the vote of its
  responses, weighted by their rewards, and for rollwise the answer with the best reward.
- its_hub accepts no seed, so its rows do not repeat exactly. rollwise's rows repeat except for rounding.

Tokens are the server's `usage` for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from rollwise.answers import answer_of, group
from rollwise.answers.voting import best_of_n, weighted_majority
from rollwise.core import Failure, Path, Problem, Step, Stop
from rollwise.names import bundled
from rollwise.numerics import bootstrap_interval, keyed_generator
from rollwise.registry import find_world
from rollwise.rewards.layouts import FAMILIES
from rollwise.rewards.served import ServedReward
from rollwise.search.config import Config
from rollwise.search.runner import Runner

WORLD = find_world("countdown")
BOX = "\\boxed"
DEFAULT = (
    "rollwise/temperature@16,rollwise/rebase@16,rollwise/dora@16,rollwise/optimal_directions@16,"
    "its_hub/beam@16,its_hub/particles@16"
)
MEASURES = ("chosen", "voted", "best", "covered")


@dataclass(frozen=True)
class Row:
    """The result of one search.

    `chosen`, `voted`, `best` and `covered` say whether the contender's own choice, the weighted vote, the answer with
    the best reward, and any answer was right. `generated` and `prompted` are the server's tokens, `distinct` counts the
    different texts among the responses. `error` is the exception if the search raised one.
    """

    contender: str
    problem: str
    chosen: bool = False
    voted: bool = False
    best: bool = False
    covered: bool = False
    generated: int = 0
    prompted: int = 0
    calls: int = 0
    responses: int = 0
    distinct: int = 0
    seconds: float = 0.0
    error: str | None = None


def path_of(text: str) -> Path:
    """The path of a text of its_hub, which lacks its last separator.

    If the last step boxes an answer, the text ended there. Otherwise the separator is added.
    """
    *before, last = text.split(WORLD.separator)
    steps = [Step(part + WORLD.separator, 1, Stop.STEP) for part in before]
    ended = BOX in last
    closing = Step(last, 1, Stop.END) if ended else Step(last + WORLD.separator, 1, Stop.STEP)
    return Path((0,), (*steps, closing))


class JudgedTexts:
    """A session of a served reward model with its_hub's interface of a process reward model (`ascore`)."""

    def __init__(self, session: Any) -> None:
        self.session = session

    async def ascore(self, prompt: Any, texts: Sequence[str]) -> list[float]:
        """The reward after the last step of each text. Raises RuntimeError if a request is lost."""
        scores = await self.session.score([path_of(text) for text in texts])
        if lost := [score.reason for score in scores if isinstance(score, Failure)]:
            raise RuntimeError(f"the reward model: {lost[0]}")
        return [min(1.0, max(0.0, float(score))) for score in scores]


def judged(problem: Problem, paths: Sequence[Path], rewards: Sequence[float], chosen: str | None) -> dict[str, Any]:
    """The fields of a Row that depend on the responses; `chosen` is the contender's own answer."""
    answers = [answer_of(path) for path in paths]
    rights = [answer is not None and WORLD.is_right(problem, answer) for answer in answers]
    labels, weights = group(answers), np.asarray(rewards, dtype=np.float64)
    voters = {"voted": weighted_majority(labels, weights).voter, "best": best_of_n(labels, weights).voter}
    return {
        "chosen": chosen is not None and WORLD.is_right(problem, chosen),
        **{name: voter is not None and rights[voter] for name, voter in voters.items()},
        "covered": any(rights),
        "responses": len(paths),
        "distinct": len({path.text for path in paths}),
    }


Search = Callable[[Problem], Awaitable[dict[str, Any]]]


def our_search(given: argparse.Namespace, strategy: str, budget: int) -> Search:
    """A search of rollwise with a served policy, reward model and embedder."""
    runner = Runner(
        Config.of(
            world=WORLD.name,
            policy=given.url,
            reward=f"chat@{given.url}",
            directions=given.url,
            belief=str(bundled(WORLD.name, "policy").parent / "belief.json"),
            vote="weighted_majority",
            strategy=strategy,
            budget=budget,
            max_step_tokens=given.max_step_tokens,
            max_steps=given.max_steps,
            temperature=given.temperature,
        )
    )

    async def search(problem: Problem) -> dict[str, Any]:
        solution = await runner.solve(problem)
        used = solution.ledger.usage["policy"]
        tokens = {"generated": used.generated, "prompted": used.prefilled + used.cached, "calls": used.calls}
        rewards = [path.rewards[-1] for path in solution.finished]
        return judged(problem, solution.finished, rewards, solution.answer) | tokens

    return search


def served_model(given: argparse.Namespace) -> Any:
    """its_hub's client of the policy, which adds up the server's usage."""
    from its_hub import OpenAICompatibleLanguageModel
    from its_hub.api import GenerationUsage

    class Counting(OpenAICompatibleLanguageModel):  # type: ignore[misc]
        used = GenerationUsage()

        def _prepare_request_data(self, *arguments: Any, **named: Any) -> dict[str, Any]:
            request: dict[str, Any] = super()._prepare_request_data(*arguments, **named)
            request.pop("extra_body", None)
            return request

        async def _agenerate(self, *arguments: Any, **named: Any) -> Any:
            *others, _ = arguments  # the last is a usage, which the searches leave out
            return await super()._agenerate(*others, self.used, **named)

    model = Counting(
        endpoint=f"{given.url}/v1",
        api_key="none",
        model_name=given.model,
        max_concurrency=64,
        max_completion_tokens=given.max_step_tokens,
    )
    model.used = GenerationUsage()
    return model


def its_search(given: argparse.Namespace, algorithm: str, budget: int) -> Search:
    """A search of its_hub; algorithm is "beam" or "particles"."""
    from its_hub import StepGeneration
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.algorithms.particle_gibbs import ParticleFiltering

    steps = StepGeneration(
        max_steps=given.max_steps, step_token=WORLD.separator, stop_token=BOX, temperature=given.temperature
    )
    reward = ServedReward(FAMILIES["chat"], given.url)

    async def search(problem: Problem) -> dict[str, Any]:
        session, model = reward.open(problem, 0), served_model(given)
        try:
            if algorithm == "beam":
                search_method = BeamSearch(steps, JudgedTexts(session), beam_width=given.beam_width)
                found = await search_method.ainfer(model, problem.question, budget, return_response_only=False)
                rewards = found.scores
            else:
                search_method = ParticleFiltering(steps, JudgedTexts(session))
                found = await search_method.ainfer(model, problem.question, budget, return_response_only=False)
                rewards = [1 / (1 + float(np.exp(-weight))) for weight in found.log_weights_lst]
        finally:
            await session.close()
            await model.close()
        paths = [path_of(response["content"]) for response in found.responses]
        tokens = {
            "generated": model.used.completion_tokens,
            "prompted": model.used.prompt_tokens,
            "calls": model.used.num_calls,
        }
        return judged(problem, paths, rewards, answer_of(path_of(found.the_one["content"]))) | tokens

    return search


def contender(name: str, given: argparse.Namespace) -> Search:
    """The search of a contender's name. Raises ValueError for an unknown name."""
    library, _, rest = name.partition("/")
    kind, _, budget = rest.partition("@")
    if not budget.isdigit() or library not in ("rollwise", "its_hub"):
        raise ValueError(f"a contender is rollwise/STRATEGY@N, its_hub/beam@N or its_hub/particles@N, not {name!r}")
    if library == "rollwise":
        return our_search(given, kind, int(budget))
    if kind not in ("beam", "particles"):
        raise ValueError(f"its_hub runs with beam or particles, not with {kind!r}")
    return its_search(given, kind, int(budget))


async def attempt(name: str, search: Search, problem: Problem) -> Row:
    """The row of one search. A search that raises counts as not solved."""
    try:
        return Row(name, problem.id, **await search(problem))
    except Exception as error:  # a library may raise anything
        return Row(name, problem.id, error=f"{type(error).__name__}: {error}"[:300])


def read_rows(file: FilePath) -> list[Row]:
    """The results in a file; none if the file does not exist."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


async def run(searches: dict[str, Search], problems: Sequence[Problem], many: int, file: FilePath) -> None:
    """Run every contender on the questions without a result, `many` questions at a time.

    The seconds of a search are its share of the time of its block.
    """
    held = {(row.contender, row.problem) for row in read_rows(file)}
    names = list(searches)
    file.parent.mkdir(parents=True, exist_ok=True)
    for turn, start in enumerate(range(0, len(problems), many)):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            block = [problem for problem in problems[start : start + many] if (name, problem.id) not in held]
            started = time.perf_counter()
            rows = await asyncio.gather(*(attempt(name, searches[name], problem) for problem in block))
            seconds = (time.perf_counter() - started) / max(1, len(block))
            with file.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(asdict(row) | {"seconds": seconds}) + "\n" for row in rows)


AVERAGED = (*MEASURES, "distinct", "generated", "prompted", "calls", "seconds")


def table(rows: Iterable[Row], baseline: str | None = None) -> str:
    """A line for each contender with shares in percent and means per question, over the questions that all have.

    With a baseline, further lines show the paired differences of `chosen` and `covered` from it, in points, with 95 %
    intervals.
    """
    by_name: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_name.setdefault(row.contender, {})[row.problem] = row
    common = sorted(set.intersection(*(set(by_problem) for by_problem in by_name.values())))
    columns = f"{'distinct':>10}{'generated':>11}{'prompted':>10}{'calls':>7}{'seconds':>9}{'broken':>8}"
    lines = [f"{len(common)} questions", f"{'contender':34}" + "".join(f"{name:>9}" for name in MEASURES) + columns]
    lines += [_contender_line(name, [found[problem] for problem in common]) for name, found in by_name.items()]
    if baseline is not None:
        others = {name: found for name, found in by_name.items() if name != baseline}
        lines += [_difference_line(name, baseline, found, by_name[baseline], common) for name, found in others.items()]
    return "\n".join(lines)


def _contender_line(name: str, rows: Sequence[Row]) -> str:
    means = {key: float(np.mean([getattr(row, key) for row in rows])) for key in AVERAGED}
    line = f"{name:34}" + "".join(f"{100 * means[measure]:9.1f}" for measure in MEASURES)
    line += f"{means['distinct']:10.1f}{means['generated']:11.0f}{means['prompted']:10.0f}{means['calls']:7.0f}"
    return f"{line}{means['seconds']:9.2f}{sum(row.error is not None for row in rows):8}"


def _difference_line(
    name: str, baseline: str, found: dict[str, Row], base: dict[str, Row], common: Sequence[str]
) -> str:
    line = f"{name} − {baseline}: "
    for measure in ("chosen", "covered"):
        pairs = [(getattr(found[problem], measure), getattr(base[problem], measure)) for problem in common]
        differences = np.array([100.0 * (value - reference) for value, reference in pairs])
        low, high = bootstrap_interval(differences, keyed_generator(name, measure))
        line += f"{measure} {differences.mean():+.1f} ({low:+.1f} to {high:+.1f})  "
    return line


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where `rollwise serve-model` listens")
    parser.add_argument("--contenders", default=DEFAULT)
    parser.add_argument("--levels", default="4,5")
    parser.add_argument("--limit", type=int, default=50, help="questions per level")
    parser.add_argument("--first-seed", type=int, default=3000)
    parser.add_argument("--in-flight", type=int, default=10, help="questions at a time")
    parser.add_argument("--beam-width", type=int, default=4, help="candidates that its_hub's beam search keeps")
    parser.add_argument("--max-steps", type=int, default=40)
    parser.add_argument("--max-step-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--model", default="countdown-policy", help="the served policy's name")
    parser.add_argument("--baseline", help="the contender that the others are compared with")
    parser.add_argument("--out", type=FilePath, required=True)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="its_hub")
    searches = {name: contender(name, given) for name in given.contenders.split(",")}
    seeds = range(given.first_seed, given.first_seed + given.limit)
    problems = [WORLD.problem(int(level), seed, "validation") for seed in seeds for level in given.levels.split(",")]
    asyncio.run(run(searches, problems, given.in_flight, given.out))
    ids = {problem.id for problem in problems}
    kept = [row for row in read_rows(given.out) if row.problem in ids and row.contender in searches]
    print(table(kept, given.baseline))


if __name__ == "__main__":
    main()
