"""How the bundled models are made: trained, measured, described in a card, exported."""

from typing import TYPE_CHECKING

from rollwise import exports

if TYPE_CHECKING:
    from rollwise.training.card import write_card
    from rollwise.training.gguf import write_gguf
    from rollwise.training.measure import Questions, evaluate_models
    from rollwise.training.policy import use_threads
    from rollwise.training.recipe import PARTS, Recipe, run_parts

__all__ = [
    "PARTS",
    "Questions",
    "Recipe",
    "evaluate_models",
    "run_parts",
    "use_threads",
    "write_card",
    "write_gguf",
]

__getattr__ = exports(
    __name__,
    {
        "write_card": "card",
        "write_gguf": "gguf",
        "Questions": "measure",
        "evaluate_models": "measure",
        "use_threads": "policy",
        "PARTS": "recipe",
        "Recipe": "recipe",
        "run_parts": "recipe",
    },
)
