"""Tiny random models of the architectures in the paper's grid, for `smoke.py`: they show that the road is open.

A policy prefers words of a solution, a blank line, a boxed number and the end of the text, so its solutions end.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from rollwise.rewards.heads import Qwen2ForProcessRewardModel

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (" so", " then", " we", " add", " 2", " 3", " =", " +")
BOXES = tuple(f"\\boxed{{{number}}}" for number in range(4, 8))
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def tokenizer() -> Any:
    """A tokenizer of bytes, with the chat's and the reward model's control tokens, some words, and boxed numbers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+|\S+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    plain.decoder = decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<extra_0>", "<pad>"],
        eos_token="<|im_end|>",
        pad_token="<pad>",
        chat_template=CHAT,
        clean_up_tokenization_spaces=False,
    )
    made.add_tokens([*WORDS, *BOXES, "\n\n"])
    return made


def save_policy(folder: Path, kind: str) -> Path:
    """Save a random policy of a transformers class, such as "LlamaForCausalLM", and its tokenizer; return the folder.

    All embeddings share a large first entry, which the residual stream keeps, so the first column of the output layer
    acts as a bias on the next token.
    """
    words = tokenizer()
    policy = _random(getattr(transformers, kind), words, num_key_value_heads=2, tie_word_embeddings=False)
    liked = words.convert_tokens_to_ids([*WORDS, *BOXES, "\n\n", "<|im_end|>"])
    with torch.no_grad():
        policy.model.embed_tokens.weight[:, 0] = 2.0
        policy.lm_head.weight[:, 0] = 0.0
        policy.lm_head.weight[liked, 0] = 2.0
    return _saved(folder, policy, words)


def save_reward(folder: Path) -> Path:
    """Save a random process reward model with the architecture and the names of weights of Qwen2.5-Math-PRM."""
    words = tokenizer()
    return _saved(folder, _random(Qwen2ForProcessRewardModel, words, num_key_value_heads=2, num_labels=2), words)


def _random(model_class: Any, words: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    room = {"vocab_size": len(words), "max_position_embeddings": 4096, "initializer_range": 0.1}
    return model_class(model_class.config_class(**SHAPE, **ends, **room, **options)).eval()


def _saved(folder: Path, model: Any, words: Any) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


class TinyEmbedder:
    """A random XLM-RoBERTa, the architecture of BGE-M3: the unit vector of a text's first token."""

    name = "tiny-bge"

    def __init__(self) -> None:
        self.words = tokenizer()
        self.model = _random(transformers.XLMRobertaModel, self.words, type_vocab_size=1)

    def embed(self, texts: list[str]) -> tuple[list[list[float]], int]:
        """The embeddings of texts, and how many tokens they have."""
        read = self.words(texts, padding=True, truncation=True, max_length=4000, return_tensors="pt")
        with torch.inference_mode():
            hidden = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        vectors = torch.nn.functional.normalize(hidden[:, 0], dim=-1)
        return vectors.tolist(), int(read["attention_mask"].sum())


@contextmanager
def served_embedder() -> Iterator[str]:
    """The URL of a server with `/v1/embeddings` by `TinyEmbedder`, until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Embeddings)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Embeddings(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    embedder = TinyEmbedder()
    one_at_a_time = threading.Lock()

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({"object": "list", "data": [{"id": self.embedder.name, "object": "model", "owned_by": "vllm"}]})

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        with self.one_at_a_time:
            vectors, tokens = self.embedder.embed(texts)
        data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
        self._reply({"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    def _reply(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
