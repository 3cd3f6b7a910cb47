"""The shapes that every SVG picture is drawn with."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def svg_document(width: float, height: float, shapes: Iterable[str]) -> str:
    """An SVG document of that size, on white, with the shapes in drawing order."""
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([opening, background, *shapes, "</svg>"]) + "\n"


def svg_text(x: float, y: float, content: str, anchor: str = "start", colour: str = "#444", size: int = 11) -> str:
    """A line of text; `anchor` says whether (x, y) is its start, middle or end."""
    where = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {where} fill="{colour}">{escape(content)}</text>'


def svg_circle(x: float, y: float, radius: float, colour: str, tip: str, opacity: float = 1.0) -> str:
    """A filled circle that shows `tip` under the pointer; opacity 0 leaves a white circle with a coloured rim."""
    fill = f'fill="{colour}" fill-opacity="{opacity}"' if opacity else 'fill="white"'
    shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" stroke="{colour}"'
    return f"<circle {shape} {fill}><title>{escape(tip)}</title></circle>"


def svg_line(x0: float, y0: float, x1: float, y1: float, colour: str, dashes: str = "") -> str:
    """A straight line; `dashes` is SVG's stroke-dasharray."""
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line {ends} stroke="{colour}"{dashed}/>'


def svg_frame(x: float, y: float, width: float, height: float) -> str:
    """The thin outline of a panel."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="#ddd"/>'
