"""The options of what shares the work, this machine or a Ray cluster, and completers of prefixes on either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

import rollwise
from rollwise.calibration import (
    IN_FLIGHT,
    Answered,
    Asked,
    Completer,
    Do,
    Plan,
    Prefix,
    complete_prefixes,
    in_process,
)
from rollwise.cluster import Cluster
from rollwise.core import Problem, Sampling
from rollwise.errors import EngineError, InputError
from rollwise.names import digest_of_files
from rollwise.registry import find_world
from rollwise.search.config import Config
from rollwise.search.options import RUN, Options, Shown
from rollwise.search.parts import Parts, deciding_files, find_parts, settled

Task = TypeVar("Task")
Reply = TypeVar("Reply")
CLUSTER_FIELDS = ("engine", "ray_address", "ray_workers", "ray_gpus")


class ClusterOptions(Options):
    """What shares the work: this machine, or a Ray cluster."""

    engine: Annotated[Literal["processes", "ray"], Shown(RUN)] = Field(
        default="processes", description="What shares the work: processes on this machine, or a Ray cluster (ray)."
    )
    ray_address: Annotated[str | None, Shown(RUN, "RAY_ADDRESS, else this machine")] = Field(
        default=None, description="Address of the Ray cluster: auto, HOST:PORT."
    )
    ray_workers: Annotated[int | None, Shown(RUN, "as many as fit")] = Field(
        default=None, ge=1, description="Workers on the Ray cluster, a core each."
    )
    ray_gpus: Annotated[float, Shown(RUN)] = Field(default=0.0, ge=0, description="GPUs of each worker, such as 0.5.")

    @property
    def cluster(self) -> Cluster | None:
        """The cluster to work on; None for this machine."""
        return Cluster(self.ray_address, self.ray_workers, self.ray_gpus) if self.engine == "ray" else None

    def refuse_idle_cluster(self) -> None:
        """Raise InputError for an option of a cluster without the engine that reads it."""
        for name in CLUSTER_FIELDS[1:] if self.engine != "ray" else ():
            if getattr(self, name) != ClusterOptions.model_fields[name].default:
                raise InputError(f"--{name.replace('_', '-')} is for --engine ray; give that too, or leave it out")


def completer_of(parts: Parts, plan: Plan) -> Completer:
    """What completes prefixes with the parts of a search."""
    config = parts.config
    form = parts.grader.form if config.answer == "auto" else config.answer
    return Completer(parts.policy, parts.reward, parts.grader, sampling_of(parts), config.max_steps, plan, form)


def sampling_of(parts: Parts) -> Sampling:
    """How a search samples."""
    config = parts.config
    certainty = parts.reward.reads_certainty
    return Sampling(config.temperature, config.top_p, config.max_step_tokens, config.max_tokens, config.seed, certainty)


@contextmanager
def completers(completer: Completer, config: Config, cluster: Cluster | None) -> Iterator[Do[Asked, Answered]]:
    """A context with what works on questions as `completer`, of the config's parts, does: here, or on a cluster.

    Each worker of a cluster loads the parts once. A question whose workers died again and again could not be asked.
    """
    if cluster is None:
        yield in_process(completer.answer, IN_FLIGHT)
        return
    lost: Callable[[str], Answered] = lambda reason: Answered(error=reason)  # noqa: E731
    with _spread(partial(_completing, *_told(config), completer.plan), cluster, lost) as do:
        yield do


@contextmanager
def prefix_completers(
    config: Config, paths: int, completions: int, cluster: Cluster
) -> Iterator[Do[Problem, list[Prefix] | None]]:
    """A context with what completes the prefixes of a world's problems on a cluster, by `complete_prefixes`.

    Raises EngineError if workers die again and again on a problem.
    """

    def lost(reason: str) -> None:
        raise EngineError(f"prefixes of a question could not be completed: {reason}; the same command goes on")

    with _spread(partial(_completing_in_world, *_told(config), paths, completions), cluster, lost) as do:
        yield do


@contextmanager
def _spread(
    prepare: Callable[[], Callable[[Task], Awaitable[Reply]]], cluster: Cluster, lost: Callable[[str], Reply]
) -> Iterator[Do[Task, Reply]]:
    """A context with workers on a cluster; `lost` makes the reply to a task that none of them finished."""
    from rollwise.cluster import Lost, ray_workers

    with ray_workers(prepare, cluster, IN_FLIGHT) as work:

        def do(tasks: Iterable[Task], on_reply: Callable[[Task, Reply], None]) -> None:
            work(tasks, lambda task, reply: on_reply(task, lost(reply.reason) if isinstance(reply, Lost) else reply))

        yield do


def _told(config: Config) -> tuple[dict[str, Any], dict[str, str]]:
    """What a worker is told: the config as plain values, and what decides its work beside it."""
    return config.model_dump(mode="json"), _deciding(config)


def _deciding(config: Config) -> dict[str, str]:
    files = {what: digest_of_files(found) for what, found in deciding_files(settled(config)).items()}
    return {"version": rollwise.__version__} | files


def _parts(fields: Mapping[str, Any], expected: Mapping[str, str]) -> Parts:
    """The parts of a config on a worker. Raises InputError if it would work otherwise than expected."""
    config = Config.of(**fields)
    found = _deciding(config)
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise InputError(
                f"it would work otherwise: {name} was {expected.get(name)} and is {found.get(name)}; install the same "
                "on every machine"
            )
    return find_parts(config)


def _completing(
    fields: Mapping[str, Any], expected: Mapping[str, str], plan: Plan
) -> Callable[[Asked], Awaitable[Answered]]:
    """What a worker does with a question."""
    return completer_of(_parts(fields, expected), plan).answer


def _completing_in_world(
    fields: Mapping[str, Any], expected: Mapping[str, str], paths: int, completions: int
) -> Callable[[Problem], Awaitable[list[Prefix]]]:
    """What a worker does with a problem of a world."""
    parts = _parts(fields, expected)
    world, sampling = find_world(parts.config.world or ""), sampling_of(parts)

    def complete(problem: Problem) -> Awaitable[list[Prefix]]:
        return complete_prefixes(world, parts.policy, problem, paths, completions, sampling)

    return complete
