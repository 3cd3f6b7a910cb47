"""`rollwise serve-model`: the models of a world, or your own, behind an OpenAI-compatible address."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import Field

from rollwise.search import SERVER, START, Options, Shown, validated

if TYPE_CHECKING:
    from rollwise.model_server import Models


class ServeOptions(Options):
    """The options of `rollwise serve-model`. All but the address are fields of `rollwise.model_server.Choice`."""

    policy: Annotated[str, Shown(START)] = Field(
        default="trained",
        description="Policy: trained, small or large (of the world), or the folder of a causal language model.",
    )
    reward: Annotated[str, Shown(START)] = Field(
        default="trained",
        description="Reward model: trained or weak (of the world), the folder of a two-label token classifier, or "
        "none.",
    )
    embedder: Annotated[str, Shown(START)] = Field(
        default="hidden", description="Embedder: hidden (the policy's hidden states), minilm, or none."
    )
    world: Annotated[str, Shown(START)] = Field(
        default="countdown",
        description="World of the models trained, small, large and weak; its separator ends a step.",
    )
    port: Annotated[int, Shown(START)] = Field(
        default=8000, ge=0, le=65535, description="Port to listen at; 0 takes a free port."
    )
    host: Annotated[str, Shown(SERVER)] = Field(
        default="127.0.0.1",
        description="Address to listen at. For an address beyond this machine, set ROLLWISE_API_KEY too.",
    )
    rows: Annotated[int, Shown(SERVER)] = Field(default=128, ge=1, description="Completions to compute at once.")
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, Shown(SERVER, "float32 on a CPU, as stored on a GPU")
    ] = Field(default=None, description="Precision: float32, bfloat16 or float16.")
    cache_tokens: Annotated[int, Shown(SERVER)] = Field(
        default=32768, ge=0, description="Tokens that the policy and the reward model each keep cached."
    )


def serve_model(given: dict[str, Any]) -> None:
    """Serve a policy, a reward model and an embedder to any client of OpenAI's interface. Ctrl-C stops the server.

    Routes: `/v1/completions` and `/v1/chat/completions` with vLLM's fields, `/pooling` for process rewards on kept
    prefixes, `/v1/embeddings`, `/tokenize`, `/detokenize`, `/v1/models`. If you set ROLLWISE_API_KEY, clients have to
    send that key.

    Examples:
    * `rollwise serve-model`

    * `rollwise serve-model --policy path/to/model --reward none --port 8001`
    """
    options = validated(ServeOptions, given)
    from rollwise.model_server import API_KEY_VARIABLE, Choice, load_models, serve
    from rollwise.openai_format import listen

    host = options.host
    with listen(host, options.port) as listener:  # fail before the models load, which takes minutes
        models = load_models(Choice(**options.model_dump(exclude={"host", "port"})))
        typer.echo(_notice(models, f"http://{host}:{listener.getsockname()[1]}"))
        if host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(API_KEY_VARIABLE):
            typer.echo(
                f"anyone who reaches {host} can use this server: set {API_KEY_VARIABLE} to require a key", err=True
            )
        serve(models, listener)


def _notice(models: Models, url: str) -> str:
    """The address, the models with their routes, and a request to try."""
    routes = {
        "generate": "/v1/completions, /v1/chat/completions",
        "token_classify": "/pooling",
        "embed": "/v1/embeddings",
    }
    lines = [f"serving at {url}", *(f"  {name}: {routes[task]}" for name, task in models.tasks.items())]
    messages = [{"role": "user", "content": "Use 3, 4, 5 to make 17"}]
    body = json.dumps({"messages": messages, "temperature": 0})
    curl = f"curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    return "\n".join([*lines, "", curl, "Ctrl-C stops the server"])
