"""Replays what was recorded, without a model: votes and stop rules on answers, other allocators on rounds."""

from rollwise.replay.recorded import Recorded, read_recorded
from rollwise.replay.votes import Played, RuleRow, VotesReplay, orders_of, play, standings, summarise_votes

__all__ = [
    "Played",
    "Recorded",
    "RuleRow",
    "VotesReplay",
    "orders_of",
    "play",
    "read_recorded",
    "standings",
    "summarise_votes",
]
