"""Every Python block of the README and the docs runs, and every `rollwise` command in them is one that exists."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rollwise.cli import build_app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "rollwise " in line]
    for words in commands:
        start = next(index for index, word in enumerate(words) if Path(word).name == "rollwise")
        run = CliRunner().invoke(build_app(), [*words[start + 1 :], "--help"])
        assert run.exit_code == 0, f"{page.name}: {words}: {run.output}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
