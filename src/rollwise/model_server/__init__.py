"""An OpenAI-compatible server for rollwise's own models: policy, process rewards and embeddings."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.model_server.models import Models
    from rollwise.model_server.run import API_KEY_VARIABLE, Choice, load_models, running, serve

__all__ = ["API_KEY_VARIABLE", "Choice", "Models", "load_models", "running", "serve"]

__getattr__ = exports(
    __name__,
    {
        "Models": "models",
        "API_KEY_VARIABLE": "run",
        "Choice": "run",
        "load_models": "run",
        "running": "run",
        "serve": "run",
    },
)
