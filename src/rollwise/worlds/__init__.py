"""Families of problems in which every step can be checked, and any other question as plain text."""

from rollwise.worlds.countdown import Countdown
from rollwise.worlds.demonstrator import Habits
from rollwise.worlds.free import FreeText
from rollwise.worlds.gsm8k import Gsm8k
from rollwise.worlds.stories import Stories
from rollwise.worlds.tokenizer import CHAT_TEMPLATE, build_tokenizer, literal_pattern
from rollwise.worlds.truth import on_course

__all__ = [
    "CHAT_TEMPLATE",
    "Countdown",
    "FreeText",
    "Gsm8k",
    "Habits",
    "Stories",
    "build_tokenizer",
    "literal_pattern",
    "on_course",
]
