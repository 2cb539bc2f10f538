"""Small expressions over config keys, as the tables of expected tensors hold them: `num_attention_heads * head_dim`.

Only what such a table needs is understood; nothing is called, and no number can grow beyond a product of config values.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable
from typing import Any

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
# Twice the largest vocabulary or width known to us, with room; a product of four of these still is a number.
LARGEST = 1 << 24


class Unanswerable(Exception):
    """The expression has no value for this config."""


def evaluate(expression: str, lookup: Callable[[str], Any]) -> Any:
    """The value of an expression; `lookup` gives that of a config key. Raises Unanswerable where it has none."""
    try:
        return _value(_parsed(expression), lookup)
    except (TypeError, ZeroDivisionError, IndexError) as error:
        raise Unanswerable(f"{expression}: {error}") from error


def integer(expression: str, lookup: Callable[[str], Any]) -> int:
    """The same, of a whole number that may size something."""
    value = evaluate(expression, lookup)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise Unanswerable(f"{expression} is {value!r:.60}")
    return value


@functools.cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, lookup: Callable[[str], Any]) -> Any:
    match node:
        case ast.Constant(value=int() | str()):
            return node.value
        case ast.Name() | ast.Attribute():
            return lookup(ast.unparse(node))
        case ast.BinOp():
            left, right = (_number(_value(side, lookup)) for side in (node.left, node.right))
            return BINARY[type(node.op)](left, right)
        case ast.Compare(ops=[comparison], comparators=[other]):
            return COMPARE[type(comparison)](_value(node.left, lookup), _value(other, lookup))
        case ast.BoolOp():
            values = (bool(_value(part, lookup)) for part in node.values)
            return all(values) if isinstance(node.op, ast.And) else any(values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, lookup)
        case ast.Subscript():
            return _value(node.value, lookup)[_value(node.slice, lookup)]
    raise Unanswerable(f"{ast.unparse(node)} is not understood")


def _number(value: Any) -> int:
    if type(value) is not int or abs(value) > LARGEST:
        raise TypeError(f"{value!r:.60} is no whole number of a size to be believed")
    return value
