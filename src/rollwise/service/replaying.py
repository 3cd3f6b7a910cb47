"""The replay of a recorded search: the same steps, rewards and evidence, with the strategy's counts computed anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from rollwise.core import Allocation, Belief, Candidates, Failure, PathKey, Problem, Step, Stop
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.search import Growth, Limits, Search, event_records
from rollwise.service.records import unpacked


def replay_search(record: Mapping[str, Any]) -> list[int]:
    """The rounds in which the replay of a recorded search differs from the record; empty if it gives the same rounds.

    The state machine gets the recorded steps, rewards and evidence, and the strategy computes the counts anew. Raises
    InputError if the events are erased, or if the strategy cannot be found by its name.
    """
    events: Sequence[Mapping[str, Any]] | None = record["events"]
    if not events:
        raise InputError(f"the events of search {record['id']} are not kept, so it cannot be replayed")
    config = record["config"]
    bound = find_strategy(config["strategy"]).bind(config["options"])
    limits = Limits(**{each.name: config[each.name] for each in fields(Limits) if each.name in config})
    limits = replace(limits, max_tokens=_room(events, limits))
    allocated = {event["round"]: event for event in events if event["event"] == "allocated"}

    def allocate(candidates: Candidates, width: int) -> Allocation:
        evidence = allocated.get(search.round)
        return bound(candidates if evidence is None else _with_evidence(candidates, evidence), width)

    search = Search(Problem(record["question"], ""), allocate, limits, record["seed"])
    for event in events:
        if event["event"] in ("grown", "failed"):
            if event["round"] > search.round:  # nothing is known of the rollouts that were cancelled in flight
                search.leave([path.key for path in search.ask()])
            search.tell(_key(event["path"]), _result(event))
        elif event["event"] == "stopped":
            search.stop(event["reason"])
    return _differing(event_records(search.events, {}), events)


def _room(events: Sequence[Mapping[str, Any]], limits: Limits) -> int:
    """The most tokens of a path: those of a path that was cut before its last step, as the model's context was full."""
    tokens = {event["path"]: event["tokens"] for event in events if event["event"] == "grown"}
    cut = [event["path"] for event in events if event["event"] == "finished" and event["stop"] == "length"]
    lengths = []
    for path in cut:
        places = path.split(".")
        if len(places) < limits.max_steps:
            lengths.append(sum(tokens[".".join(places[: end + 1])] for end in range(len(places))))
    return min([limits.max_tokens, *lengths])


def _with_evidence(candidates: Candidates, event: Mapping[str, Any]) -> Candidates:
    belief, directions = event["belief"], unpacked(event["evidence"])
    if directions is None and event["uniqueness"] is not None:
        raise InputError("the directions of a round with so many candidates are not kept, so it cannot be replayed")
    if belief is None:
        return replace(candidates, directions=directions)
    mean, concentration = (np.array(belief[name], dtype=np.float64) for name in ("mean", "concentration"))
    believed = Belief(mean, concentration, belief["correlation"], size_exponent=belief["size_exponent"])
    return replace(candidates, directions=directions, belief=believed)


def _result(event: Mapping[str, Any]) -> Growth | Failure:
    if event["event"] == "failed":
        return Failure(str(event["reason"]))
    logprob = event["logprob"]
    step = Step(event["text"], event["tokens"], Stop(event["stop"]), float("nan") if logprob is None else logprob)
    return Growth(step, event["reward"])


def _key(text: str) -> PathKey:
    return tuple(map(int, text.split(".")))


def _differing(replayed: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]]) -> list[int]:
    """The rounds in which the counts, the paths that finished or those that grew differ."""
    kept = ("event", "round", "path", "stop", "width", "paths", "counts", "reward", "tokens")

    def of(events: Sequence[Mapping[str, Any]]) -> list[str]:
        return [repr({name: event[name] for name in kept if name in event}) for event in events]

    ours, theirs = of(replayed), of(recorded)
    differing = {event["round"] for event, text in zip(recorded, theirs, strict=True) if text not in ours}
    differing |= {event["round"] for event, text in zip(replayed, ours, strict=True) if text not in theirs}
    return sorted(differing)
