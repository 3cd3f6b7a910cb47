"""Makes the bundled models: trains them, measures them, describes them in a card, and exports them."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.training.card import write_card
    from rollwise.training.fitting import use_threads
    from rollwise.training.gguf import write_gguf
    from rollwise.training.measure import Questions, evaluate_models
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
        "use_threads": "fitting",
        "PARTS": "recipe",
        "Recipe": "recipe",
        "run_parts": "recipe",
    },
)
