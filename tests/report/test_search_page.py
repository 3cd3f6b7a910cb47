"""A search as one HTML file: complete, in need of nothing else, and safe with any text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shown_searches import HOSTILE, hostile_account, large_search
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.core import key_text
from rollwise.report import search_data, search_html
from rollwise.report.mathematics import pieces


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def hostile_page() -> Page:
    return Page(search_html(hostile_account()))


def test_hostile_text_stays_text() -> None:
    page = hostile_page()
    assert [tag for tag, _ in page.elements if tag == "script"] == ["script"] * 4
    assert not [tag for tag, _ in page.elements if tag in ("img", "b", "iframe", "link")]
    texts = page.data["search"]["texts"]
    assert [["text", HOSTILE[1]]] in texts
    markup = [content for parts in texts for kind, content in parts if kind == "math"]
    for content in markup:
        assert set(re.findall(r"</?(\w+)", content)) <= {"math", "mrow", "mi", "mtext", "mn", "mo"}
        assert "javascript" not in content


def test_the_page_may_run_its_own_scripts_only_and_load_nothing() -> None:
    page = hostile_page()
    policy = next(attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert "default-src 'none'" in policy
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not [name for _, attributes in page.elements for name in attributes if name in ("src", "href")]
    assert not re.findall(r"url\(|@import|fetch\(", "".join(page.scripts[1:]))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("So $x^2$ is", ["text", "math", "text"]),
        ("it costs $5 and $6", ["text"]),
        (r"\[a\] then \(b\) and $$c$$", ["math", "text", "math", "text", "math"]),
        (r"Answer: \boxed{\frac{1}{2}}.", ["text", "math", "text"]),
        (r"\boxed{never closed", ["text"]),
        ("", []),
    ],
)
def test_mathematics_is_found(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _ in pieces(text)] == kinds


def test_no_text_is_lost_around_mathematics() -> None:
    found = pieces(r"Half is $\frac{1}{2}$, so \boxed{x} it is")
    assert "".join(content for kind, content in found if kind == "text") == "Half is , so  it is"
    assert "<mfrac>" in found[1][1]


def test_the_data_are_the_account() -> None:
    account = large_search(12, 3)
    data = search_data(account)
    nodes = data["nodes"]
    assert {len(column) for column in nodes.values()} == {len(account.nodes)}
    for place, key in enumerate(nodes["key"]):
        node = account.nodes[tuple(map(int, key.split(".")))]
        parent = nodes["parent"][place]
        assert (key_text(node.key[:-1]) if len(node.key) > 1 else -1) == (nodes["key"][parent] if parent >= 0 else -1)
        assert (nodes["count"][place], nodes["fate"][place]) == (node.count, node.fate)
        assert data["texts"][nodes["text"][place]] == pieces(node.text)
    stage = account.stages[0]
    assert stage.similarity is not None
    decoded = np.frombuffer(base64.b64decode(data["stages"][0]["similarity"]), np.uint8) / 127.5 - 1
    assert np.abs(decoded.reshape(stage.similarity.shape) - stage.similarity).max() < 1 / 250
    assert json.loads(json.dumps(data, allow_nan=False))["budget"] == 12


def test_solve_writes_a_page(tmp_path: Path) -> None:
    out = tmp_path / "search.html"
    words = ["solve", "Use 4, 6, 21, 25 to make 85", "--strategy", "rebase", "--budget", "4", "--html", str(out)]
    assert CliRunner().invoke(build_app(), [*words, "--language", "ja", "--json"]).exit_code == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert page.data["search"]["budget"] == 4
    assert page.elements[0] == ("html", {"lang": "ja"})
    assert any("ロールアウト" in text for text in page.data["search"]["nodes"]["why"])
    refused = CliRunner().invoke(build_app(), [*words[:-1], str(tmp_path / "none" / "x.html")])
    assert "does not exist" in str(refused.exception)
