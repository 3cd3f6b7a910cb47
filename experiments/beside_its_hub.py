r"""its_hub's beam search and particle filter beside searches of rollwise, on one served policy and one served reward.

    rollwise serve-model --port 8000                      # in an environment with rollwise[local,serve]
    pip install 'its_hub[lm]==1.2.0' 'rollwise[http]'     # in the environment of this script; no torch
    python experiments/beside_its_hub.py http://127.0.0.1:8000 --out runs/its_hub.jsonl

A contender is `rollwise/STRATEGY@N`, `its_hub/beam@BUDGET` or `its_hub/particles@BUDGET`. Contenders take turns on
the same block of questions, all of whose searches run at once; every block begins with another of them. What has a
result in the file is not run again. What was chosen for its_hub:

- Policy: `OpenAICompatibleLanguageModel` with `continue_final_message`; the field `extra_body`, which this server does
  not know and whose content it sends at the top too, is left out. As many tokens a step at most as ours, and the same
  temperature.
- `StepGeneration` with the world's separator as `step_token`, the box of an answer as `stop_token`, so that no ended
  path goes on with empty steps, and as many steps at most as ours.
- Reward: the same route and the same client as ours. It hands over whole texts without their last separator; the
  adapter puts back what the reward model was trained on: the separator, or the end of the text after a boxed answer.
- Its answer is its own choice (`the_one`: most reward, most weight). The vote of its responses is counted too, weighed
  by their rewards, and so is ours by the best reward.
- It takes no seed, so its rows do not repeat exactly; ours do but for rounding.

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

from rollwise.answers.equality import group
from rollwise.answers.extraction import answer_of
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
    """What came of one search: whether the contender's own choice, the weighted vote, the answer with the best reward
    and any answer was right; the server's tokens; distinct texts among the responses; `error` where it broke down.
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
    """The path that a text of its_hub is, which lacks its last separator: it ended where its last step boxes an answer,
    else that step is closed.
    """
    *before, last = text.split(WORLD.separator)
    steps = [Step(part + WORLD.separator, 1, Stop.STEP) for part in before]
    ended = BOX in last
    closing = Step(last, 1, Stop.END) if ended else Step(last + WORLD.separator, 1, Stop.STEP)
    return Path((0,), (*steps, closing))


class JudgedTexts:
    """its_hub's interface of a process reward model (`ascore`), by the served reward model of a rollwise session."""

    def __init__(self, session: Any) -> None:
        self.session = session

    async def ascore(self, prompt: Any, texts: Sequence[str]) -> list[float]:
        """The reward after the last step of each text. Raises RuntimeError where one is lost."""
        scores = await self.session.score([path_of(text) for text in texts])
        if lost := [score.reason for score in scores if isinstance(score, Failure)]:
            raise RuntimeError(f"the reward model: {lost[0]}")
        return [min(1.0, max(0.0, float(score))) for score in scores]


def judged(problem: Problem, paths: Sequence[Path], rewards: Sequence[float], chosen: str | None) -> dict[str, Any]:
    """What of a Row its responses decide; `chosen` is the answer that the contender itself gives."""
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
    """A search of rollwise: policy, reward and directions all served."""
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
    """its_hub's client of the policy, which counts what the server says it used."""
    from its_hub import OpenAICompatibleLanguageModel
    from its_hub.api import GenerationUsage

    class Counting(OpenAICompatibleLanguageModel):  # type: ignore[misc]
        used = GenerationUsage()

        def _prepare_request_data(self, *arguments: Any, **named: Any) -> dict[str, Any]:
            request: dict[str, Any] = super()._prepare_request_data(*arguments, **named)
            request.pop("extra_body", None)
            return request

        async def _agenerate(self, *arguments: Any, **named: Any) -> Any:
            *others, _ = arguments  # the last is an account, which the searches leave out
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
                kind = BeamSearch(steps, JudgedTexts(session), beam_width=given.beam_width)
                found = await kind.ainfer(model, problem.question, budget, return_response_only=False)
                rewards = found.scores
            else:
                kind = ParticleFiltering(steps, JudgedTexts(session))
                found = await kind.ainfer(model, problem.question, budget, return_response_only=False)
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
    """The search that a contender's name stands for. Raises ValueError for a name that is none."""
    library, _, rest = name.partition("/")
    kind, _, budget = rest.partition("@")
    if not budget.isdigit() or library not in ("rollwise", "its_hub"):
        raise ValueError(f"a contender is rollwise/STRATEGY@N, its_hub/beam@N or its_hub/particles@N, not {name!r}")
    if library == "rollwise":
        return our_search(given, kind, int(budget))
    if kind not in ("beam", "particles"):
        raise ValueError(f"of its_hub there are beam and particles, not {kind!r}")
    return its_search(given, kind, int(budget))


async def attempt(name: str, search: Search, problem: Problem) -> Row:
    """One search; one that breaks down counts as not solved."""
    try:
        return Row(name, problem.id, **await search(problem))
    except Exception as error:  # whatever a library raises
        return Row(name, problem.id, error=f"{type(error).__name__}: {error}"[:300])


def read_rows(file: FilePath) -> list[Row]:
    """The results that a file holds; none where there is no file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


async def run(searches: dict[str, Search], problems: Sequence[Problem], many: int, file: FilePath) -> None:
    """Every contender on every question that the file holds no result of, `many` questions at a time; a search's
    seconds are its share of the time that those took.
    """
    held = {(row.contender, row.problem) for row in read_rows(file)}
    names = list(searches)
    file.parent.mkdir(parents=True, exist_ok=True)
    for turn, start in enumerate(range(0, len(problems), many)):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            block = [one for one in problems[start : start + many] if (name, one.id) not in held]
            started = time.perf_counter()
            rows = await asyncio.gather(*(attempt(name, searches[name], one) for one in block))
            seconds = (time.perf_counter() - started) / max(1, len(block))
            with file.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(asdict(row) | {"seconds": seconds}) + "\n" for row in rows)


def table(rows: Iterable[Row], baseline: str | None = None) -> str:
    """Shares in percent and means a question by contender, over the questions that all of them have; with a baseline
    the paired differences of `chosen` and `covered` to it, in points with their 95 % intervals.
    """
    by_name: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_name.setdefault(row.contender, {})[row.problem] = row
    common = sorted(set.intersection(*(set(found) for found in by_name.values())))
    lines = [f"{len(common)} questions", f"{'contender':34}" + "".join(f"{name:>9}" for name in MEASURES)]
    lines[-1] += f"{'distinct':>10}{'generated':>11}{'prompted':>10}{'calls':>7}{'seconds':>9}{'broken':>8}"
    for name, found in by_name.items():
        chosen = [found[problem] for problem in common]
        means = {key: float(np.mean([getattr(row, key) for row in chosen])) for key in Row.__annotations__ if key in
                 {*MEASURES, "distinct", "generated", "prompted", "calls", "seconds"}}  # fmt: skip
        line = f"{name:34}" + "".join(f"{100 * means[measure]:9.1f}" for measure in MEASURES)
        line += f"{means['distinct']:10.1f}{means['generated']:11.0f}{means['prompted']:10.0f}{means['calls']:7.0f}"
        lines.append(f"{line}{means['seconds']:9.2f}{sum(row.error is not None for row in chosen):8}")
    for name, found in by_name.items():
        if baseline is not None and name != baseline:
            line = f"{name} − {baseline}: "
            for measure in ("chosen", "covered"):
                pairs = [(getattr(found[one], measure), getattr(by_name[baseline][one], measure)) for one in common]
                differences = np.array([100.0 * (a - b) for a, b in pairs])
                low, high = bootstrap_interval(differences, keyed_generator(name, measure))
                line += f"{measure} {differences.mean():+.1f} ({low:+.1f} to {high:+.1f})  "
            lines.append(line)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where `rollwise serve-model` listens")
    parser.add_argument("--contenders", default=DEFAULT)
    parser.add_argument("--levels", default="4,5")
    parser.add_argument("--limit", type=int, default=50, help="questions a level")
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
    asked = {problem.id for problem in problems}
    kept = [row for row in read_rows(given.out) if row.problem in asked and row.contender in searches]
    print(table(kept, given.baseline))


if __name__ == "__main__":
    main()
