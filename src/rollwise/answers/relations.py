"""Inequalities of one variable as intervals, and what equations state of their variables."""

from __future__ import annotations

from rollwise.answers.evaluation import exact
from rollwise.answers.notation import Node
from rollwise.answers.tokens import UnreadableError

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_ABOVE_ALL: Node = ("symbol", "infinity")
_BELOW_ALL: Node = ("negate", _ABOVE_ALL)


def interval(node: Node) -> Node:
    """An inequality of one bare variable as `x in` an interval; any other expression as it is."""
    if node[0] != "relation" or not set(node[1]) <= {"<", "<=", ">", ">="}:
        return node
    signs, sides = node[1], node[2:]
    if all(sign in (">", ">=") for sign in signs):
        signs, sides = tuple(FLIPPED[sign] for sign in reversed(signs)), sides[::-1]
    if any(sign in (">", ">=") for sign in signs) or len(sides) > 3:
        return node
    if len(sides) == 2 and sides[0][0] == "symbol" and sides[1][0] != "symbol":
        signs, sides = ("<", *signs), (_BELOW_ALL, *sides)
    elif len(sides) == 2 and sides[1][0] == "symbol" and sides[0][0] != "symbol":
        signs, sides = (*signs, "<"), (*sides, _ABOVE_ALL)
    if len(sides) != 3 or sides[1][0] != "symbol":
        return node
    brackets = ("[" if signs[0] == "<=" else "(") + ("]" if signs[1] == "<=" else ")")
    return ("relation", ("in",), sides[1], ("sequence", brackets, sides[0], sides[2]))


def both(relations: list[Node]) -> list[Node]:
    """The relations that hold together, with a lower and an upper bound of one variable in one chain: 2 < x < 3.

    Bounds that exclude each other stay as they are: `x < 2 and x > 3` is how people write a union. Raises
    UnreadableError if a variable has two bounds of the same kind or more than two.
    """
    bounds: dict[Node, list[Node]] = {}
    for relation in relations:
        if relation[0] == "relation" and set(relation[1]) <= {"<", "<=", ">", ">="} and interval(relation) != relation:
            _, _, variable, span = interval(relation)
            bounds.setdefault(variable, []).append(span)
    variable, spans = max(bounds.items(), key=lambda item: len(item[1]), default=(None, []))
    if len(spans) < 2:
        return relations
    above = [span for span in spans if span[3] == _ABOVE_ALL]
    below = [span for span in spans if span[2] == _BELOW_ALL]
    if not len(relations) == 2 == len(above) + len(below) or len(above) != 1:
        raise UnreadableError("conditions that are no single interval")
    (_, left, low, _), (_, right, _, high) = above[0], below[0]
    ends = exact(low), exact(high)
    if ends[0] is not None and ends[1] is not None and ends[0] >= ends[1]:
        return relations
    signs = "<=" if left[0] == "[" else "<", "<=" if right[1] == "]" else "<"
    return [("relation", signs, low, variable, high)]


def stated(relation: Node) -> Node | None:
    """What `x = …`, `f(x) = …` or `x ∈ …` states of its left side; None for other relations."""
    signs, sides = relation[1], relation[2:]
    if signs in (("=",), ("in",)) and sides[0][0] in ("symbol", "name", "apply"):
        return interval(sides[1])
    if (
        signs == ("=",)
        and sides[0][:2] == sides[1][:2] == ("sequence", ":")
        and all(part[0] == "symbol" for part in sides[0][2:])
    ):
        return sides[1]
    if signs == ("=",) and sides[1][0] in ("symbol", "name") and exact(sides[0]) is not None:
        return sides[0]
    return None


def coordinates(left: Node, right: Node) -> tuple[tuple[Node, ...], tuple[Node, ...]] | None:
    """The values of two points, if one of them at least is written as x = 1, y = 2 or (x, y) = (1, 2).

    Values without names beside `x = 1, y = 2` are in alphabetical order. None if these are no two such points.
    """
    named = _named_values(left), _named_values(right)
    if named[0] is not None and named[1] is not None and left[0] != right[0] and set(named[0]) == set(named[1]):
        return tuple(named[0].values()), tuple(named[1][name] for name in named[0])
    for values, other in ((named[0], right), (named[1], left)):
        if values is not None and other[:2] == ("sequence", "()"):
            return tuple(values.values()), other[2:]
    return None


def _named_values(node: Node) -> dict[Node, Node] | None:
    """Variable → value of `x = 1, y = 2`, in alphabetical order, or of `(x, y) = (1, 2)`, in its own order."""
    if node[:2] == ("relation", ("=",)) and node[2][0] == node[3][0] == "sequence" and len(node[2]) == len(node[3]):
        pairs = list(zip(node[2][2:], node[3][2:], strict=True))
    elif node[0] == "list" and all(item[:2] == ("relation", ("=",)) for item in node[1:]):
        pairs = sorted(((item[2], item[3]) for item in node[1:]), key=lambda pair: str(pair[0]))
    else:
        return None
    named = dict(pairs)
    return named if len(named) == len(pairs) and all(name[0] == "symbol" for name in named) else None
