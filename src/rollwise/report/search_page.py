"""A search as a page: data for the script that draws it, and one HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from rollwise.core import FloatArray, key_text
from rollwise.errors import InputError
from rollwise.report.account import Account, Stage
from rollwise.report.mathematics import pieces
from rollwise.report.reasons import reason_of
from rollwise.report.words import catalogue, sentence


def search_data(account: Account, language: str = "en", why: bool = True) -> dict[str, Any]:
    """An account as plain data for the script of the search view.

    Nodes are columns of equal length in the order of rounds; `parent` is the position of the path that a node grew
    from, -1 for the first step. Texts stand once each, as pieces of text and MathML; `wrote` is -1 for a step as the
    policy wrote it. `why` holds a sentence for each node; without `why` it is None.
    """
    nodes = sorted(account.nodes.values(), key=lambda node: (node.round, node.key))
    positions = {node.key: place for place, node in enumerate(nodes)}
    wrote = [node.wrote for node in nodes]
    texts = list(dict.fromkeys([*(node.text for node in nodes), *(text for text in wrote if text is not None)]))
    text_places = {text: place for place, text in enumerate(texts)}
    stages = {stage.index: place for place, stage in enumerate(account.stages)}
    return {
        "question": pieces(account.question),
        "strategy": account.strategy,
        "budget": account.budget,
        "byStrategy": account.by_strategy,
        "digested": account.digested,
        "ballots": [vars(ballot) for ballot in account.ballots],
        "stages": [_stage_data(stage) for stage in account.stages],
        "texts": [pieces(text.strip()) for text in texts],
        "nodes": {
            "key": [key_text(node.key) for node in nodes],
            "parent": [positions.get(node.key[:-1], -1) for node in nodes],
            "stage": [stages[node.round] for node in nodes],
            "text": [text_places[node.text] for node in nodes],
            "wrote": [-1 if text is None else text_places[text] for text in wrote],
            **{name: [_plain(getattr(node, name)) for node in nodes] for name in _COLUMNS},
            "why": [sentence(reason_of(account, node), language) for node in nodes] if why else None,
        },
    }


_COLUMNS = (
    *("fate", "place", "score", "direction", "uniqueness", "chance", "worth", "share", "count"),
    *("answer", "vote", "right", "reason"),
)


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _stage_data(stage: Stage) -> dict[str, Any]:
    return {
        "index": stage.index,
        "grown": stage.grown,
        "finished": stage.finished,
        "failed": stage.failed,
        "stopped": stage.stopped,
        "width": None if stage.allocated is None else stage.allocated.width,
        "effective": _plain(stage.effective),
        "groups": [{name: _plain(value) for name, value in vars(group).items()} for group in stage.groups],
        "order": None if stage.order is None else stage.order.tolist(),
        "others": {name: counts.tolist() for name, counts in (stage.others or {}).items()},
        "similarity": None if stage.similarity is None else _bytes_of(stage.similarity),
    }


def _bytes_of(similarity: FloatArray) -> str:
    """A cosine similarity (k, k) as base64 of k·k bytes: -1 is 0 and 1 is 255."""
    return base64.b64encode(np.round((similarity + 1) * 127.5).clip(0, 255).astype(np.uint8).tobytes()).decode()


def why_of(account: Account, path: str, language: str = "en") -> str:
    """The sentence about a path, such as "5.0.2". Raises InputError if the search has no such path."""
    catalogue(language)
    try:
        key = tuple(map(int, path.split(".")))
    except ValueError:
        raise InputError(f"a path is numbers with dots between them, like 5.0.2, not {path[:40]!r}") from None
    node = account.nodes.get(key)
    if node is None:
        raise InputError(f"this search has no path {path}")
    return sentence(reason_of(account, node), language)


def search_html(account: Account, language: str = "en", why: bool = True) -> str:
    """A search as one HTML file, with its styles, scripts and data inside. It asks for nothing from anywhere.

    Without `why` it has no sentences, which for a search of 10,000 paths take half a minute.
    """
    words = catalogue(language)["page"]
    data = {"language": language, "words": words, "search": search_data(account, language, why)}
    scripts = [asset("tree.js"), asset("search.js"), "rollwise.open();"]
    return html_page(f"{account.question} · rollwise", language, scripts, data)


def html_page(title: str, language: str, scripts: Sequence[str], data: Any) -> str:
    """An HTML page that may run these scripts and no other, and may load nothing; they find the data as JSON."""
    style = asset("search.css")
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="{escape(language)}">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            f"<title>{escape(' '.join(title.split()))}</title>",
            f"<style>{style}</style></head>",
            '<body><div id="rollwise"></div>',
            f'<script type="application/json" id="rollwise-data">{_embedded(data)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>\n",
        ]
    )


def asset(name: str) -> str:
    """The text of a file that pages are made of."""
    return files("rollwise.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _embedded(data: Any) -> str:
    """Data as JSON that cannot end the script element that holds it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
