"""Draw the house, docs/house.svg, from the imports in src: rooms on floors, each above all that it imports.

python docs/house.py            # rewrite the picture
python docs/house.py --check    # change nothing; fail if the picture differs from the code
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "rollwise"
PICTURE = DOCS / "house.svg"
WIDTH, ROOM, FLOOR, GAP, MARGIN = 860, 64, 92, 14, 16
INK, LINE, FILL, FRAME = "#1d2430", "#7d8aa5", "#eef2fb", "#3d5a99"


def rooms() -> dict[str, str]:
    """Room → what lives there. A room is a package or a file beside the packages."""
    found = {}
    for path in sorted(SOURCE.iterdir()):
        room = (path / "__init__.py").is_file() or path.suffix == ".py"
        if room and not path.name.startswith("__"):
            face = path / "__init__.py" if path.is_dir() else path
            about = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
            found[path.stem] = " ".join(about.split("\n\n")[0].split()).replace("`", "")
    return found


def imports(names: set[str]) -> dict[str, set[str]]:
    """Room → the rooms that it imports, inside functions too."""
    graph: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for file in SOURCE.rglob("*.py"):
        own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if own in graph and isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rollwise"):
                inside = (node.module or "").split(".")[1:2] or [alias.name for alias in node.names]
                graph[own] |= names.intersection(inside) - {own}
    return graph


def floors(graph: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by floor, from the ground up: a room stands above all that it imports."""
    level: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in level:
            level[name] = 1 + max((height(other) for other in graph[name]), default=-1)
        return level[name]

    for name in graph:
        height(name)
    return [sorted(name for name in graph if level[name] == floor) for floor in range(1 + max(level.values()))]


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not also run through a third room."""

    def below(name: str) -> set[str]:
        return graph[name] | {far for near in graph[name] for far in below(near)}

    return [
        (name, other)
        for name, others in graph.items()
        for other in sorted(others)
        if not any(other in below(near) for near in others - {other})
    ]


def picture() -> str:
    """The house as SVG. A line is an import that does not also run through a third room."""
    about = rooms()
    graph = imports(set(about))
    storeys = floors(graph)
    height = MARGIN * 2 + FLOOR * len(storeys)
    place: dict[str, tuple[float, float, float]] = {}
    boxes = []
    for number, storey in enumerate(storeys):
        y = height - MARGIN - FLOOR * (number + 1) + (FLOOR - ROOM) / 2
        room = (WIDTH - 2 * MARGIN - GAP * (len(storey) - 1)) / len(storey)
        wide = min(room, 420.0)
        x = (WIDTH - wide * len(storey) - GAP * (len(storey) - 1)) / 2
        for name in storey:
            place[name] = (x, y, wide)
            boxes.append(_room(name, about[name], x, y, wide))
            x += wide + GAP
    lines = []
    for name, other in direct(graph):
        (x0, y0, w0), (x1, y1, w1) = place[name], place[other]
        start, end = x0 + w0 / 2, x1 + w1 / 2
        bend = (y1 - y0 - ROOM) / 2
        lines.append(
            f'<path d="M{start:.0f},{y0 + ROOM:.0f} C{start:.0f},{y0 + ROOM + bend:.0f} {end:.0f},{y1 - bend:.0f} '
            f'{end:.0f},{y1:.0f}" fill="none" stroke="{LINE}" stroke-width="1.3"/>'
        )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([opening, ground, *lines, *boxes, "</svg>"]) + "\n"


def _room(name: str, about: str, x: float, y: float, wide: float) -> str:
    most = int((wide - 16) / 5.6)
    words, rows = about.split(), [""]
    for word in words:
        if len(rows[-1]) + len(word) > most:
            rows.append("")
        rows[-1] = f"{rows[-1]} {word}".strip()
    if len(rows) > 2:
        rows = [rows[0], rows[1][: most - 1].rstrip(" ,;:") + "…"]
    texts = [
        f'<text x="{x + 8:.0f}" y="{y + 36 + 14 * row:.0f}" font-size="11" fill="#4a5568">{escape(text)}</text>'
        for row, text in enumerate(rows)
    ]
    return "".join(
        [
            f"<g><title>{escape(about)}</title>",
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{ROOM}" rx="5" fill="{FILL}" stroke="{FRAME}"/>',
            f'<text x="{x + 8:.0f}" y="{y + 19:.0f}" font-size="15" font-weight="bold" fill="{INK}">{name}</text>',
            *texts,
            "</g>",
        ]
    )


def main(arguments: list[str]) -> int:
    """Write the picture, or with `--check` return 1 if it is stale."""
    if "--check" not in arguments:
        PICTURE.write_text(picture(), encoding="utf-8")
        return 0
    fresh = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture()
    if not fresh:
        print(f"{PICTURE} differs from the code; run python docs/house.py", file=sys.stderr)
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
