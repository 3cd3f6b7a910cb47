"""`rollwise serve-model`: the models of a world, or your own, behind an OpenAI-compatible address."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from rollwise.errors import InputError

if TYPE_CHECKING:
    from rollwise.model_server import Models


def serve_model(
    policy: Annotated[
        str,
        typer.Option(help="Policy: trained, small or large (of the world), or the folder of a causal language model."),
    ] = "trained",
    reward: Annotated[
        str,
        typer.Option(
            help="Reward model: trained or weak (of the world), the folder of a two-label token classifier, or none."
        ),
    ] = "trained",
    embedder: Annotated[
        str, typer.Option(help="Embedder: hidden (the policy's hidden states), minilm, or none.")
    ] = "hidden",
    world: Annotated[
        str, typer.Option(help="World of the models trained, small, large and weak; its separator ends a step.")
    ] = "countdown",
    host: Annotated[
        str, typer.Option(help="Address to listen at. For an address beyond this machine, set ROLLWISE_API_KEY too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free port.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, help="Completions to compute at once.")] = 128,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Precision: float32, bfloat16 or float16.", show_default="float32 on a CPU, as stored on a GPU"
        ),
    ] = None,
    cache_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens that the policy and the reward model each keep cached.")
    ] = 32768,
) -> None:
    """Serve a policy, a reward model and an embedder to any client of OpenAI's interface. Ctrl-C stops the server.

    Routes: `/v1/completions` and `/v1/chat/completions` with vLLM's fields, `/pooling` for process rewards on kept
    prefixes, `/v1/embeddings`, `/tokenize`, `/detokenize`, `/v1/models`. If you set ROLLWISE_API_KEY, clients have to
    send that key.

    Examples:
        rollwise serve-model

        rollwise serve-model --policy path/to/model --reward none --port 8001
    """
    from rollwise.model_server import API_KEY_VARIABLE, Choice, listen, load_models, serve

    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise InputError(f"--dtype is float32, bfloat16 or float16, not {dtype!r}")
    with listen(host, port) as listener:  # fail before the models load, which takes minutes
        models = load_models(Choice(policy, reward, embedder, world, rows, dtype, cache_tokens))
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
