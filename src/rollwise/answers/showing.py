"""Writes an expression as a person reads it."""

from __future__ import annotations

from fractions import Fraction

from rollwise.answers.notation import Node


def shown_node(node: Node) -> str:
    """An expression as a person reads it, with brackets around every operation inside another."""
    kind, parts = node[0], node[1:]
    if kind == "number":
        return _shown_number(parts[0], parts[1])
    if kind in ("symbol", "name"):
        return str(parts[0]).removeprefix("\\")
    if kind == "based":
        return f"{parts[0]}_{parts[1]}"
    if kind == "relation":
        sides = [shown_node(side) for side in parts[1:]]
        return sides[0] + "".join(f" {sign} {side}" for sign, side in zip(parts[0], sides[1:], strict=True))
    if kind == "sequence" and parts[0] == ":":
        return ":".join(map(shown_node, parts[1:]))
    if kind == "sequence":
        return parts[0][0] + ", ".join(map(shown_node, parts[1:])) + parts[0][1]
    if kind in ("set", "list", "row", "matrix"):
        opening, closing = {"set": "{}", "list": ("", ""), "row": "[]", "matrix": "[]"}[kind]
        return opening + ", ".join(map(shown_node, parts)) + closing
    if kind in ("call", "apply"):
        return f"{parts[0]}({', '.join(map(shown_node, parts[1:]))})"
    if kind == "negate":
        return f"-{_inner(parts[0])}"
    if kind == "add" and parts[1][0] == "negate":
        return f"{shown_node(parts[0])} - {_term(parts[1][1])}"
    if kind == "add":
        return f"{shown_node(parts[0])} + {_term(parts[1])}"
    sign = {"multiply": "*", "divide": "/", "power": "^"}[kind]
    return f"{_inner(parts[0])}{sign}{_inner(parts[1])}"


def _term(node: Node) -> str:
    return shown_node(node) if node[0] in ("multiply", "divide") else _inner(node)


def _inner(node: Node) -> str:
    text = shown_node(node)
    return f"({text})" if node[0] in ("add", "multiply", "divide", "negate") else text


def _shown_number(value: Fraction, places: int | None) -> str:
    if places is None or places <= 0:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
