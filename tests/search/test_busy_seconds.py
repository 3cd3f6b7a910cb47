"""The seconds of an activity against counting small slices of time."""

from hypothesis import given
from hypothesis import strategies as st

from rollwise.search import busy_seconds
from rollwise.search.events import Event, Failed

SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=8)


@given(SPANS, SPANS)
def test_overlapping_spans_count_once(generating: list[tuple[int, int]], scoring: list[tuple[int, int]]) -> None:
    events: list[Event] = [
        Failed(0, (number,), "lost", {name: (start, start + length)})
        for name, spans in (("generating", generating), ("scoring", scoring))
        for number, (start, length) in enumerate(spans)
    ]
    covered = {second for start, length in generating for second in range(start, start + length)}
    assert busy_seconds(events, "generating") == len(covered)
    assert busy_seconds(events, "embedding") == 0
