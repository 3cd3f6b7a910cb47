"""Every Python block of the README and the docs runs, every command in them exists, and every link leads somewhere."""

import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rollwise.cli import build_app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
JAPANESE = ROOT / "README.ja.md"
PAGES = [README, JAPANESE, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md"))]
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_blocks_run(page: Path) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=name_of)
def test_commands_parse(page: Path) -> None:
    lines = [line for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "rollwise " in line]
    for words in commands:
        start = next(index for index, word in enumerate(words) if Path(word).name == "rollwise")
        run = CliRunner().invoke(build_app(), [*words[start + 1 :], "--help"])
        assert run.exit_code == 0, f"{page.name}: {words}: {run.output}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=name_of)
def test_scripts_and_configs_of_commands_exist(page: Path) -> None:
    text = "\n".join(blocks(page, "console"))
    named = set(re.findall(r"\b(?:experiments|benchmarks|docs)/[\w/.-]+\.(?:py|toml)\b", text))
    assert {file for file in named if not (ROOT / file).exists()} == set()


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def slug(heading: str) -> str:
    """The anchor that Python-Markdown makes of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_text).strip().lower())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings; a heading that repeats gets a number."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+?)\s*$", prose(page), re.MULTILINE):
        anchor, count = slug(heading), 0
        while (anchor if count == 0 else f"{anchor}_{count}") in found:
            count += 1
        found.add(anchor if count == 0 else f"{anchor}_{count}")
    return found


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of each link of a page into the repository."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", link):
            file, _, anchor = link.partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    dead = [
        f"{target.name}#{anchor}" if anchor else str(target)
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert dead == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=name_of)
def test_pages_of_the_site_link_inside_the_site(page: Path) -> None:
    """A link to a file outside docs/ would be dead in the built site; such files are named, not linked."""
    assert [str(target) for target, _ in links(page) if not target.is_relative_to(DOCS)] == []


def test_dead_anchors_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `code` title, 2nd\n\n## Again\n\n## Again\n\n```console\n# no heading\n```\n\n[x](#again_1)\n")
    assert anchors(page) == {"a-code-title-2nd", "again", "again_1"}
    assert list(links(page)) == [(page, "again_1")]


def test_the_site_has_every_page_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"([\w./-]+\.md)$", nav, re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md"))


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 500


def test_the_japanese_readme_says_what_the_english_one_says() -> None:
    """The same commands and settings, the same figures in the findings, and links to the same pages."""

    def code(page: Path) -> list[str]:
        lines = [
            line for language in ("console", "toml") for block in blocks(page, language) for line in block.split("\n")
        ]
        return [re.sub(r"\s+#.*", "", line).strip() for line in lines]

    def figures(page: Path) -> list[str]:
        findings = re.findall(r"^- \*\*.*?(?=^- |^\n|\Z)", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        return sorted(re.findall(r"[+−]?\d+\.\d+|N = \d+", " ".join(" ".join(findings).split())))

    def linked(page: Path) -> set[Path]:
        return {target for target, _ in links(page) if target not in (README, JAPANESE) and target.suffix == ".md"}

    assert code(JAPANESE) == code(README)
    assert figures(JAPANESE) == figures(README)
    assert len(figures(README)) > 10
    assert linked(README) <= linked(JAPANESE)


@pytest.mark.parametrize("script", ["tables.py", "options.py", "house.py"])
def test_generated_pages_are_those_of_the_code(script: str) -> None:
    run = subprocess.run([sys.executable, str(ROOT / "docs" / script), "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
