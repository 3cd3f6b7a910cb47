"""Makes the report of benches: a folder with the page, the pictures, the tables and the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollwise.errors import MissingExtraError
from rollwise.report.bench_page import Part, bench_html, bench_markdown, file_name
from rollwise.report.data_tables import table_csv

_ZOOM = 2  # pixels of a PNG for each unit of its SVG


def write_report(
    parts: Sequence[Part], out: Path, title: str, most_searches: int = 200
) -> tuple[list[Path], list[str]]:
    """The files of a report that were written to the folder `out`, and notes on those that were not.

    Without the extra `report`, the page and the PNG pictures are left out.
    """
    for folder in (out / "figures", out / "tables"):
        folder.mkdir(parents=True, exist_ok=True)
    written, notes = [], []

    def write(file: Path, content: str | bytes) -> None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        written.append(file)

    try:
        write(out / "index.html", bench_html(parts, title, most_searches))
    except MissingExtraError as error:
        notes.append(str(error))
    write(out / "report.md", bench_markdown(parts, title))
    for place, part in enumerate(parts):
        for table in part.tables:
            write(out / "tables" / f"{file_name(place, len(parts), table.name)}.csv", table_csv(table))
        for picture in part.pictures:
            name = out / "figures" / file_name(place, len(parts), picture.name)
            write(name.with_suffix(".svg"), picture.svg)
            try:
                write(name.with_suffix(".png"), png(picture.svg))
            except MissingExtraError as error:
                notes.append(str(error))
    return written, list(dict.fromkeys(notes))


def png(svg: str) -> bytes:
    """An SVG document as a PNG file. Raises MissingExtraError without resvg."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise MissingExtraError("a PNG picture", "report") from error
    return bytes(svg_to_bytes(svg_string=svg, zoom=_ZOOM, sans_serif_family="DejaVu Sans"))
