"""Families of problems in which every step can be checked; and any other question as plain text."""

from rollwise.worlds.countdown import Countdown
from rollwise.worlds.free import FreeText
from rollwise.worlds.stories import Stories
from rollwise.worlds.tokenizer import CHAT_TEMPLATE, build_tokenizer, literal_pattern

__all__ = [
    "CHAT_TEMPLATE",
    "Countdown",
    "FreeText",
    "Stories",
    "build_tokenizer",
    "literal_pattern",
]
