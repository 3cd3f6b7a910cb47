"""Replays what was recorded, without a model: votes and stop rules on answers, other allocators on rounds."""

from rollwise.replay.recorded import Recorded, read_recorded
from rollwise.replay.rounds import (
    OtherCounts,
    RecordedRound,
    RoundsSummary,
    recorded_rounds,
    replay_round,
    summarise_rounds,
)
from rollwise.replay.votes import Played, RuleRow, VotesReplay, orders_of, play, standings, summarise_votes

__all__ = [
    "OtherCounts",
    "Played",
    "Recorded",
    "RecordedRound",
    "RoundsSummary",
    "RuleRow",
    "VotesReplay",
    "orders_of",
    "play",
    "read_recorded",
    "recorded_rounds",
    "replay_round",
    "standings",
    "summarise_rounds",
    "summarise_votes",
]
