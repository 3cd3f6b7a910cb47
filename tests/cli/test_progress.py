"""Progress on standard error, where nobody sees bars."""

from __future__ import annotations

import pytest

from rollwise.cli.progress import LINE_EVERY, progress_bars


def test_without_a_terminal_a_line_is_written_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress_bars(lambda: now) as show:
        for done in range(101):
            show("bench", 20 + done, 120, "3 raised" if done > 70 else "")
            now += 1
        show("report", 1, 1, "")
    told = capsys.readouterr()
    assert told.out == ""
    assert LINE_EVERY == 30
    assert told.err.splitlines() == [
        "bench: 50 of 120, 0:01:10 left",
        "bench: 80 of 120, 0:00:40 left",
        "bench: 110 of 120, 0:00:10 left, 3 raised",
        "bench: 120 of 120, 3 raised",
        "report: 1 of 1",
    ]


def test_short_work_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as show:
        show("[bench]", 0, 9, "")
        show("[bench]", 9, 9, "")
    assert capsys.readouterr().err == "[bench]: 9 of 9\n"
