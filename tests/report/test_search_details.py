"""What a page tells of a stored search, from events whose rounds and paths were worked out by hand."""

from rollwise.report import account_of, reason_of, sentence
from rollwise.report.search_details import reasons_of, search_details
from rollwise.search import Config, Runner, event_records, run_to_end


def grown(number: int, path: str, text: str, reward: float) -> dict[str, object]:
    return {
        "event": "grown",
        "round": number,
        "path": path,
        "text": text,
        "tokens": 1,
        "stop": "step",
        "reward": reward,
    }


EVENTS = [
    grown(0, "0", "one ", 0.2),
    grown(0, "1", "two ", 0.6),
    {"event": "failed", "round": 0, "path": "2", "reason": "lost"},
    {"event": "allocated", "round": 0, "paths": ["0", "1"], "counts": [0, 2], "width": 2},
    grown(1, "1.0", "three", 0.9),
    grown(1, "1.1", "four", 0.4),
    {"event": "finished", "round": 1, "path": "1.0", "stop": "end", "right": False},
    {"event": "finished", "round": 1, "path": "1.1", "stop": "end", "right": True},
    {"event": "stopped", "round": 1, "reason": "the vote is decided", "saved": 1},
]


def test_rounds_and_endings() -> None:
    details = search_details(EVENTS)
    first, second = details.rounds
    assert (first.number, first.grown, first.reward, first.lost, first.going_on, first.most) == (1, 2, 0.4, 1, 1, 2)
    assert (second.grown, second.finished, second.right, second.going_on, second.most) == (2, 2, 1, 0, 0)
    assert [(each.path, each.right, each.reward, each.text) for each in details.endings] == [
        ("1.1", True, 0.4, "two four"),
        ("1.0", False, 0.9, "two three"),
    ]
    assert (details.more, details.stopped) == (0, "the vote is decided")


def test_long_texts_and_many_paths_are_cut() -> None:
    events: list[dict[str, object]] = []
    for number in range(9):
        events.append(grown(0, str(number), "x" * 5000 + " end", number / 10))
        events.append({"event": "finished", "round": 0, "path": str(number), "stop": "end"})
    details = search_details(events)
    assert (len(details.endings), details.more, details.stopped) == (6, 3, None)
    assert details.endings[0].path == "8"
    assert details.endings[0].right is None
    assert details.endings[0].text.endswith(" end")
    assert len(details.endings[0].text) < 1600


def test_a_search_without_events_has_nothing_to_tell() -> None:
    details = search_details([])
    assert (details.rounds, details.endings, details.more) == ((), (), 0)


def test_sentences_are_those_of_the_account_and_unreadable_events_have_none() -> None:
    runner = Runner(Config.of(strategy="dora", budget=16, seed=2))
    problem = runner.parts.problems.problem(4, 2)
    solution = run_to_end(runner.solve(problem))
    records = event_records(solution.events, dict.fromkeys([path.key for path in solution.finished], False))
    told = reasons_of({"strategy": "dora", "budget": 16}, problem, records)
    account = account_of(solution, runner.parts)
    steps = [stage for stage in account.stages if stage.allocated is not None]
    assert {one.step for one in told} == {stage.index + 1 for stage in steps}
    for one in told:
        node = account.nodes[tuple(map(int, one.path.split(".")))]
        assert one.why == sentence(reason_of(account, node))
    for stage in steps:
        named = [one for one in told if one.step == stage.index + 1]
        assert 1 <= len({one.path for one in named}) == len(named) <= 3
        counts = [node.count for node in account.nodes.values() if node.round == stage.index]
        first = account.nodes[tuple(map(int, named[0].path.split(".")))]
        assert first.count == max(counts)
    broken = [{**record, "counts": "x"} if record["event"] == "allocated" else record for record in records]
    assert reasons_of({"strategy": "dora"}, problem, broken) == ()
    assert reasons_of({"budget": "many"}, problem, records) == ()
