"""The scorer for tool calls: which functions an answer calls, and with which arguments."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from modelcheck.dataset.example import Example, text_of
from modelcheck.errors import UsageError
from modelcheck.finetune.scorers.options import Options, Scorer
from modelcheck.finetune.scorers.strict_json import DECODER, FENCE

# No call that somebody means is longer; parsers take memory a hundred times of what they parse.
LONGEST = 100_000
TAGGED = ("<tool_call>", "</tool_call>")
# Mistral's form, with its control tokens or as it is left without them.
NAMED = re.compile(r"\s*(?:\[TOOL_CALLS\])?([\w.-]+)(?:\[ARGS\])?(?=\{)")
BETWEEN = " \t\r\n;"
Call = tuple[str, Hashable]


class NoCall(ValueError):
    """What was read is no call in any known form."""


def tool_call(options: Options) -> Scorer:
    """1 where the answer calls what the reference calls: the same names with the same arguments as JSON values.

    The reference is a call, a list of calls (an empty one: nothing may be called) or a text that holds them; where the
    row has no column for it, the `tool_calls` of its last answer. Missing, extra and unreadable calls are wrong.
    `ordered` (default false) asks for the order, too; `partial` (default false) gives the share of right calls among
    those made or those asked for, whichever are more.
    """
    ordered = options.take("ordered", bool, "true or false", default=False)
    partial = options.take("partial", bool, "true or false", default=False)
    options.reads_rows = True  # the calls of an answer are no part of an item's id

    def score(answer: str, item: Example) -> float:
        wanted = _reference(item, options.place)
        try:
            made = calls(answer)
        except NoCall:
            return float(not wanted)
        if ordered:
            right = sum(a == b for a, b in zip(made, wanted, strict=False))
        else:
            right = (Counter(made) & Counter(wanted)).total()
        most = max(len(made), len(wanted))
        share = right / most if most else 1.0
        return share if partial else float(share == 1)

    return score


def calls(text: str) -> list[Call]:
    """The calls that a text holds, in order. Raises NoCall where there is none, or one that cannot be read."""
    if len(text) > LONGEST:
        raise NoCall(f"{len(text)} characters are too long for a call")
    try:
        return [_call(value) for value in _written(text.strip())]
    except (ValueError, RecursionError, MemoryError, SyntaxError) as error:
        raise NoCall(str(error)) from None


def _written(text: str) -> Iterator[Any]:
    """The calls as values, by the form that they are written in."""
    first, last = TAGGED
    if first in text:
        for part in text.split(first)[1:]:
            inner, end, _ = part.partition(last)
            if not end:
                raise NoCall("the last call is not closed")
            yield _json(inner)
        return
    if (fenced := FENCE.match(text)) is not None:
        text = fenced[1].strip()
    if NAMED.match(text):
        yield from _named(text)
        return
    bare = text.removeprefix("<|python_tag|>").removeprefix("[TOOL_CALLS]").strip()
    if bare.startswith("{") or re.match(r"\[\s*(?:\{|\])", bare):
        yield from _objects(bare)
    else:
        yield from _pythonic(bare)


def _objects(text: str) -> Iterator[Any]:
    """Objects one after another, parted by blanks or semicolons, or one list of them."""
    at = 0
    while at < len(text):
        value, at = DECODER.raw_decode(text, at)
        yield from value if isinstance(value, list) else [value]
        at = len(text) - len(text[at:].lstrip(BETWEEN))


def _named(text: str) -> Iterator[Any]:
    """A name and an object of arguments behind it, as often as there are."""
    at = 0
    while (name := NAMED.match(text, at)) is not None:
        arguments, at = DECODER.raw_decode(text, name.end())
        yield {"name": name[1], "arguments": arguments}
    if text[at:].strip():
        raise NoCall(f"text behind the calls: {text[at : at + 40]!r}")


def _pythonic(text: str) -> Iterator[Any]:
    """`name(key=value)`, or a list of those; values are literals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a compiler would say of a model's code
        body = ast.parse(text, mode="eval").body
    for node in body.elts if isinstance(body, ast.List) else [body]:
        if not isinstance(node, ast.Call) or node.args or any(k.arg is None for k in node.keywords):
            raise NoCall("a call by position, or none")
        yield {"name": ast.unparse(node.func), "arguments": {k.arg: ast.literal_eval(k.value) for k in node.keywords}}


def _call(value: Any) -> Call:
    """Name and arguments of a call as JSON: `arguments` or `parameters`, plain or in a `function`, or as a text."""
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise NoCall("an object without a name")
    given = [value[key] for key in ("arguments", "parameters") if value.get(key) is not None]
    arguments = _json(given[0]) if given and isinstance(given[0], str) else given[0] if given else {}
    if len(given) > 1 or not isinstance(arguments, Mapping):
        raise NoCall("arguments that are no object")
    return value["name"], _frozen(arguments)


def _frozen(value: Any) -> Hashable:
    """A JSON value that equals another if they are the same in JSON: 1 is 1.0 and not true, keys have no order."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NoCall("a key that is no text")
        return "object", frozenset((key, _frozen(member)) for key, member in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_frozen, value))
    if value is None or isinstance(value, str | bool):
        return type(value).__name__, value
    if isinstance(value, int | float):
        return "number", value
    raise NoCall(f"{type(value).__name__} is no value in JSON")


def _json(text: str) -> Any:
    value, end = DECODER.raw_decode(text.strip())
    if text.strip()[end:]:
        raise NoCall("more than one value")
    return value


def _reference(item: Example, place: str) -> list[Call]:
    reference, answer = item.reference, item.answer
    if answer is not None and answer.get("tool_calls") and reference in (None, text_of(answer)):
        reference = answer["tool_calls"]
    try:
        if isinstance(reference, str):
            return calls(reference)
        return [_call(value) for value in (reference if isinstance(reference, list | tuple) else [reference])]
    except (ValueError, RecursionError) as error:
        problem = f"the reference of {item.place} is no tool call ({error})"
        raise UsageError(
            f'{place}: {problem}; expected {{"name": ..., "arguments": {{}}}} or a list of these'
        ) from None
