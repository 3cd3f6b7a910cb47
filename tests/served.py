"""Servers for tests, on loopback, that reply in the manner of each kind and hold a policy that knows two solutions."""

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from rollwise.core import Problem
from rollwise.engines.http.client import Patience

FAST = Patience(first=0.01, longest=0.05, connect=2.0)
QUESTION = "Use 2, 3, 4 to make 24"
WAYS = [
    ["2 × 3 = 6, left: 4 6\n\n", "4 × 6 = 24, left: 24\n\n", "Answer: \\boxed{2 × 3 × 4}"],
    ["2 + 3 = 5, left: 4 5\n\n", "4 × 5 = 20, left: 20\n\n", "Answer: \\boxed{(2 + 3) × 4}"],
]
"""The two solutions that the served policy knows. The seed decides which solution starts; a path continues its own."""
TEXTS = ["".join(way) for way in WAYS]
PROBLEM = Problem(QUESTION, QUESTION)
END = 1
OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "llama-cpp-python": "me",
    "rollwise": "rollwise",
    "transformers": "somebody",
    "openai": "openai",
}
OPENAI_FIELDS = {
    *("model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "n", "stream", "logprobs"),
    *("presence_penalty", "frequency_penalty", "echo", "best_of"),
}
TRANSFORMERS_FIELDS = OPENAI_FIELDS | {"generation_config"}
ROLLWISE_FIELDS = OPENAI_FIELDS - {"presence_penalty", "frequency_penalty"} | {
    *("include_stop_str_in_output", "return_token_ids", "add_special_tokens", "stop_token_ids"),
}


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def template(messages: list[dict[str, str]], thinking: bool, quiet: bool) -> str:
    body = "".join(f"<{message['role']}>{message['content']}" for message in messages)
    return body + "<answer>" + ("<think></think>" if thinking and quiet else "")


class Emulator(ThreadingHTTPServer):
    """A server of one kind. A token is a character. `log` keeps every request, `cut` counts the replies left unread."""

    daemon_threads = True
    taken: ClassVar[set[int]] = set()

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kind, self.settings = kind, settings
        self.log: list[tuple[str, Any, dict[str, str]]] = []
        self.cut = 0
        self.judging = threading.Lock()
        self.failures: list[tuple[int, dict[str, str]]] = []

    def server_bind(self) -> None:
        """Take a port that no server of this process had before: what was found out about a URL is kept."""
        super().server_bind()
        while self.server_address[1] in self.taken:
            self.socket.close()
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_address = ("127.0.0.1", 0)
            super().server_bind()
        self.taken.add(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count a client that went away; it is no error of the server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
        self.cut += 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> list[Any]:
        return [body for asked, body, _ in self.log if asked == path]


@contextmanager
def emulated(kind: str = "vllm", **settings: Any) -> Iterator[Emulator]:
    server = Emulator(kind, **settings)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Emulator
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def reply(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.server.log.append((self.path, None, dict(self.headers)))
        kind = self.server.kind
        if self.path == "/v1/models":
            entry: dict[str, Any] = {"id": "tiny", "owned_by": OWNERS[kind]}
            entry |= {"max_model_len": 600} if kind in ("vllm", "rollwise") else {}
            self.reply({"data": [entry]})
        elif self.path == "/version" and kind == "vllm":
            self.reply({"version": "0.33.0"})
        elif self.path == "/props" and kind == "llamacpp":
            self.reply({"default_generation_settings": {"n_ctx": 600}, "build_info": "b1"})
        else:
            self.reply({"error": {"message": "no such route"}}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.log.append((self.path, body, dict(self.headers)))
        if self.server.failures and "complet" in self.path:
            status, headers = self.server.failures.pop(0)
            return self.reply(
                {"error": {"message": f"failing with {self.headers.get('Authorization')}"}}, status, headers
            )
        kind, settings = self.server.kind, self.server.settings
        if self.path == "/tokenize" and kind in ("vllm", "rollwise", "llamacpp", "sglang"):
            return self.tokenize(body)
        if self.path == "/detokenize" and kind in ("vllm", "rollwise"):
            return self.reply({"prompt": decode(body["tokens"])})
        if self.path == "/apply-template" and kind == "llamacpp":
            quiet = not body.get("chat_template_kwargs", {}).get("enable_thinking", True)
            return self.reply({"prompt": template(body["messages"], settings.get("thinking", False), quiet)})
        if self.path == "/v1/embeddings" and max(map(len, body["input"])) > settings.get("longest_embedded", 10**6):
            return self.reply({"error": {"message": "a text is too long"}}, settings.get("refuses_by", 400))
        if self.path == "/v1/embeddings" and settings.get("embeds", True):
            rows = [[float(text.count(digit)) + 0.01 for digit in "0123456789"] for text in body["input"]]
            data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
            return self.reply({"data": data[::-1], "usage": {"prompt_tokens": sum(map(len, body["input"]))}})
        if self.path == "/v1/chat/completions" and "judges" in settings:
            with self.server.judging:
                time.sleep(settings["judges"])
            return self.reply({"choices": [{"message": {"content": "Score: 7"}}]})
        if self.path == ("/completion" if kind == "llamacpp" else "/v1/completions"):
            return self.complete(body)
        return self.reply({"error": {"message": "no such route"}}, 404)

    def tokenize(self, body: Any) -> None:
        if self.server.kind == "llamacpp":
            return self.reply({"tokens": encode(body["content"])})
        if self.server.settings.get("no_system") and any(
            message["role"] == "system" for message in body.get("messages", [])
        ):
            return self.reply({"error": {"message": "System role not supported"}}, 400)
        if "messages" in body and self.server.kind == "sglang":
            return self.reply({"detail": "prompt is required"}, 422)
        text = body.get("prompt")
        if text is None:
            quiet = not body.get("chat_template_kwargs", {}).get("enable_thinking", True)
            text = template(body["messages"], self.server.settings.get("thinking", False), quiet)
            text += self.server.settings.get("opens", "")
        return self.reply({"tokens": encode(text), "count": len(text), "max_model_len": 600})

    def complete(self, body: Any) -> None:
        kind, settings = self.server.kind, self.server.settings
        if refusal := self.refusal(body):
            message, status = refusal
            return self.reply({"error": {"message": message}}, status)
        prompt = body["prompt"] if isinstance(body["prompt"], str) else decode(body["prompt"])
        limit = body.get("n_predict", body.get("max_tokens", 16))
        if kind == "llama-cpp-python" and len(prompt) >= settings.get("context", 10**6):
            message = f"This model's maximum context length is {settings['context']} tokens"
            return self.stream_nothing() if body.get("stream") else self.reply({"error": {"message": message}}, 400)
        if kind == "vllm" and len(prompt) + limit > 600:
            return self.reply({"error": {"message": "maximum context length is 600 tokens"}}, 400)
        time.sleep(settings.get("seconds", 0.0))
        samples = kind != "transformers" or json.loads(body.get("generation_config", "{}")).get("do_sample", False)
        temperature = settings.get("temperature", body["temperature"] if samples else 0)
        says = settings.get("says", continuation)
        replies = []
        for index in range(int(body.get("n", 1))):
            text, ended = says(prompt, int(body.get("seed") or 0) + index, limit, temperature)
            stop = next(((end, text.index(end)) for end in body.get("stop") or [] if end in text), None)
            if body.get("stream") and kind == "llamacpp":
                return self.stream_natively(self.shaped(body, prompt, text, ended, stop))
            if body.get("stream"):
                return self.stream(text, ended)
            replies.append(self.shaped(body, prompt, text, ended, stop))
        reply = joined(replies)
        if len(replies) > 1 and (broken := settings.get("broken_choice")) is not None:
            reply["choices"][broken]["finish_reason"] = "abort"
        return self.reply(reply)

    def refusal(self, body: Any) -> tuple[str, int] | None:
        """The message and status with which this kind refuses fields of a completion; None if it accepts all."""
        kind, settings = self.server.kind, self.server.settings
        known = {"transformers": TRANSFORMERS_FIELDS, "rollwise": ROLLWISE_FIELDS}.get(kind)
        if known is not None and (unknown := sorted(set(body) - known)):
            return (
                f"Unexpected fields: {unknown[0] if kind == 'rollwise' else unknown}",
                400 if kind == "rollwise" else 422,
            )
        if settings.get("no_stops") and body.get("stop"):
            return "substring not found", 500
        if not isinstance(body["prompt"], str) and kind in ("transformers", "llama-cpp-python", "openai"):
            return "prompt has to be a string", 500 if kind == "llama-cpp-python" else 422
        if kind == "llama-cpp-python" and not settings.get("logits_all", True) and "logprobs" in body:
            return "logprobs is not supported for models created with logits_all=False", 500
        if int(body.get("n", 1)) > settings.get("most", 1024):
            return "n is too large", 400
        return None

    def shaped(self, body: Any, prompt: str, text: str, ended: bool, stop: tuple[str, int] | None) -> dict[str, Any]:
        """The reply in this kind's shape."""
        kind = self.server.kind
        keeps = kind == "transformers" or body.get("include_stop_str_in_output") or body.get("no_stop_trim")
        generated = text if stop is None else text[: stop[1] + len(stop[0])]
        shown = generated if stop is None or keeps else text[: stop[1]]
        ids = encode(generated) + ([END] if ended and stop is None and kind != "llama-cpp-python" else [])
        reason = "stop" if stop is not None or ended else "length"
        tokens = [*generated, *([""] if len(ids) > len(generated) else [])]
        if kind == "llamacpp":
            return native_reply(shown, tokens, ids, len(prompt), ended, stop, bool(body.get("stream")))
        choice: dict[str, Any] = {"index": 0, "text": shown, "finish_reason": reason}
        if kind in ("vllm", "rollwise"):
            choice["stop_reason"] = stop[0] if stop is not None else None
        if kind == "sglang":
            choice["matched_stop"] = stop[0] if stop is not None else END if ended else None
        if kind != "transformers" and body.get("logprobs") is not None:
            named = tokens if kind != "openai" else [*shown]
            choice["logprobs"] = {
                "tokens": named,
                "token_logprobs": [-0.1] * len(named),
                "top_logprobs": [{"a": -0.1, "b": -3.0}] * len(named),
            }
        if body.get("return_token_ids"):
            choice["token_ids"] = ids
        usage: dict[str, Any] = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        if kind == "vllm":
            usage["prompt_tokens_details"] = {"cached_tokens": 16 * (len(prompt) // 16)}
        return {"choices": [choice], "usage": usage}

    def stream(self, text: str, ended: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for character in text:
                logprobs = {"tokens": [character], "token_logprobs": [-0.1], "top_logprobs": [{"a": -0.1, "b": -3.0}]}
                shown = {"logprobs": logprobs} if self.server.settings.get("logprobs", True) else {}
                self.event({"text": character, "finish_reason": None} | shown)
            reasons = self.server.settings.get("ends", {"reason": "stop"})
            self.event({"text": "", "finish_reason": reasons["reason"] if ended else "length"})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.cut += 1
        self.close_connection = True

    def stream_natively(self, whole: dict[str, Any]) -> None:
        """Stream a reply of llama.cpp's own route; no piece contains text of the stop string."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for place, token in enumerate(whole["tokens"]):
                shown = whole["content"][place : place + 1]
                probability = whole["completion_probabilities"][place] | {"token": shown}
                event = {"content": shown, "tokens": [token], "stop": False}
                self.data(event | {"completion_probabilities": [probability]})
            last = {key: value for key, value in whole.items() if key != "completion_probabilities"}
            self.data(last | {"content": "", "tokens": [], "stop": True})
        except OSError:
            self.server.cut += 1
        self.close_connection = True

    def stream_nothing(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, choice: dict[str, Any]) -> None:
        self.data({"choices": [{"index": 0, **choice}]})

    def data(self, event: dict[str, Any]) -> None:
        time.sleep(self.server.settings.get("pause", 0.0))
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()


def native_reply(
    shown: str, tokens: list[str], ids: list[int], prompt: int, ended: bool, stop: tuple[str, int] | None, stream: bool
) -> dict[str, Any]:
    """A reply of llama.cpp's own route."""
    tops = [{"id": 7, "logprob": -0.1}, {"id": 8, "logprob": -3.0}]
    probabilities = [{"token": token, "logprob": -0.1, "top_logprobs": tops} for token in tokens]
    if stop is not None and not stream:
        del probabilities[-len(encode(stop[0])) :]  # the real server leaves out as many
    return {
        "content": shown,
        "tokens": ids,
        "stop_type": "word" if stop is not None else "eos" if ended else "limit",
        "stopping_word": stop[0] if stop else "",
        "tokens_predicted": len(ids),
        "tokens_evaluated": prompt,
        "timings": {"cache_n": 5},
        "completion_probabilities": probabilities,
    }


def joined(replies: list[dict[str, Any]]) -> dict[str, Any]:
    """The replies for the completions of one prompt, as a single reply."""
    first = replies[0]
    if len(replies) > 1:
        first["choices"] = [reply["choices"][0] | {"index": index} for index, reply in enumerate(replies)]
        first["usage"]["completion_tokens"] = sum(reply["usage"]["completion_tokens"] for reply in replies)
    return first


def continuation(prompt: str, seed: int, limit: int, temperature: float) -> tuple[str, bool]:
    """The policy's continuation of a prompt, and whether it ends the text: the rest of one of TEXTS."""
    said = prompt.rpartition("<answer>")[2].removeprefix("<think></think>") if "<answer>" in prompt else ""
    if not said and "<answer>" not in prompt:
        said = next(
            (text[:size] for text in TEXTS for size in range(len(text), 0, -1) if prompt.endswith(text[:size])), ""
        )
    known = [text for text in TEXTS if said and text.startswith(said)]
    first = random.Random(seed).random() < 0.25 or temperature == 0
    text = known[0] if known else TEXTS[0 if first else 1] if not said else ""
    rest = text[len(said) :]
    return rest[:limit], len(rest) < limit
