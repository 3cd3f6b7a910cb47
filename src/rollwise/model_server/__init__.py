"""An OpenAI-compatible server for rollwise's own models: policy, process rewards and embeddings."""

from typing import TYPE_CHECKING

from rollwise import exports

if TYPE_CHECKING:
    from rollwise.model_server.models import Models
    from rollwise.model_server.run import KEY, Choice, listen, load_models, serve

__all__ = ["KEY", "Choice", "Models", "listen", "load_models", "serve"]

__getattr__ = exports(
    __name__,
    {
        "Models": "models",
        "Choice": "run",
        "KEY": "run",
        "listen": "run",
        "load_models": "run",
        "serve": "run",
    },
)
