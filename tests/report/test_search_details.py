"""What a page tells of a stored search, from events whose rounds and paths were worked out by hand."""

from rollwise.report.search_details import search_details


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
