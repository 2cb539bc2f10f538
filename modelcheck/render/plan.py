"""The conversations that every template is rendered with, and the switches it is rendered under.

Runs inside the child.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jinja2 import nodes

from .sentinels import ASSISTANT, NEXT_ASSISTANT, NEXT_USER, SYSTEM, USER

# Two moments that differ in every field a date is written with.
CLOCKS = ("2024-03-07T13:05:09", "2031-11-25T08:46:52")
TOOL = {
    "type": "function",
    "function": {
        "name": "zt_lookup",
        "description": "Look something up",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
    },
}
MAX_SWITCHES, MAX_VALUES = 8, 4

U1 = {"role": "user", "content": USER}
A1 = {"role": "assistant", "content": ASSISTANT}
U2 = {"role": "user", "content": NEXT_USER}
A2 = {"role": "assistant", "content": NEXT_ASSISTANT}
S1 = {"role": "system", "content": SYSTEM}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "zcall0001", "type": "function", "function": {"name": "zt_lookup", "arguments": {"key": "ZK1"}}}
    ],
}
RESULT = {"role": "tool", "name": "zt_lookup", "tool_call_id": "zcall0001", "content": "ZR1"}

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "user": {"messages": [U1]},
    "prompt": {"messages": [U1], "add_generation_prompt": True},
    "chat": {"messages": [U1, A1]},
    "system": {"messages": [S1, U1]},
    "system_prompt": {"messages": [S1, U1], "add_generation_prompt": True},
    "turns": {"messages": [U1, A1, U2, A2]},
    "next": {"messages": [U1, A1, U2], "add_generation_prompt": True},
    "tools": {"messages": [U1], "tools": [TOOL], "add_generation_prompt": True},
    "tool_call": {"messages": [U1, CALL, RESULT, A1], "tools": [TOOL]},
}
# Rendered at the second clock, and under each switch: enough to see a date or a changed frame, few enough to be quick.
AT_SECOND_CLOCK = ("prompt", "chat", "system_prompt", "tools")
UNDER_SWITCHES = ("user", "prompt", "chat", "system_prompt", "turns")
# What a template may expect besides messages; tried in turn where a plain conversation fails. A variable that the
# template reads without asking whether it is defined is given VALUE.
SUPPLIES: tuple[dict[str, Any], ...] = ({}, {"tools": []}, {"tools": [TOOL]}, {"documents": []})
VALUE, MAX_UNDEFINED, MAX_ROLES = "ZV1", 4, 8
# Names that apply_chat_template sets itself, or takes as parameters of its own and does not pass on: no switches.
GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "tokenize"}) | {
    f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
}
LOOKED_UP = re.compile(r"resolve\('(\w+)'\)")


def in_parts(conversation: dict[str, Any]) -> dict[str, Any]:
    """The same conversation with every content as a list of parts, as multimodal templates want it."""
    messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in conversation["messages"]]
    return {**conversation, "messages": messages}


def free_names(code: str) -> set[str]:
    """The names that only a caller of apply_chat_template can set, from the code that jinja2 made of the template."""
    return {*LOOKED_UP.findall(code)} - GIVEN


def roles(template: nodes.Template) -> list[str]:
    """Further roles that messages may have: the words among the template's literals."""
    values = (node.value for node in _walk(template) if isinstance(node, nodes.Const))
    words = (value.lower() for value in values if isinstance(value, str) and value.isalpha())
    return [word for word in dict.fromkeys(words) if word not in ("user", "assistant")][:MAX_ROLES]


def switches(template: nodes.Template, free: set[str]) -> dict[str, list[Any]]:
    """{name: values to try} of the free names that the template branches on.

    A name counts where it decides something by itself (True and False are tried) or is compared with literals (those
    are tried); not where it is only printed or tested for being defined, nor where the template sets it first.
    """
    first_use: dict[str, str] = {}
    for node in _walk(template):
        if isinstance(node, nodes.Name):
            first_use.setdefault(node.name, node.ctx)
    found: dict[str, list[Any]] = {}
    for name, value in _uses(template):
        given = name in free and first_use[name] == "load"
        if given and value not in found.setdefault(name, []) and len(found[name]) < MAX_VALUES:
            found[name].append(value)
    return dict(list(found.items())[:MAX_SWITCHES])


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    # In the order of execution, and on the heap: a deep template must not exhaust the stack.
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        children = [*node.iter_child_nodes()]
        waiting += children if isinstance(node, nodes.Assign) else reversed(children)


def _uses(template: nodes.Template) -> Iterator[tuple[str, Any]]:
    for node in _walk(template):
        if isinstance(node, nodes.Compare) and isinstance(node.expr, nodes.Name):
            yield from ((node.expr.name, value) for o in node.ops for value in _literals(o.expr))
        for decider in _deciders(node):
            if isinstance(decider, nodes.Name):
                yield from ((decider.name, value) for value in (True, False))


def _deciders(node: nodes.Node) -> Iterator[nodes.Node | None]:
    if isinstance(node, (nodes.If, nodes.CondExpr)):
        yield node.test
        if (
            isinstance(node, nodes.CondExpr)
            and isinstance(node.expr2, nodes.Const)
            and isinstance(node.expr2.value, bool)
        ):
            yield node.expr1  # `x if x is defined else true`
    elif isinstance(node, (nodes.And, nodes.Or)):
        yield from (node.left, node.right)
    elif isinstance(node, nodes.Not) or (isinstance(node, nodes.Test) and node.name in ("true", "false")):
        yield node.node
    elif isinstance(node, nodes.Filter) and node.name in ("default", "d"):
        if any(isinstance(a, nodes.Const) and isinstance(a.value, bool) for a in node.args[:1]):
            yield node.node


def _literals(node: nodes.Node) -> Iterator[str | bool | int]:
    if isinstance(node, nodes.Const):  # compiling has folded a list of constants into one
        values = node.value if isinstance(node.value, (list, tuple)) else [node.value]
        yield from (value for value in values if isinstance(value, (str, bool, int)))
    elif isinstance(node, (nodes.List, nodes.Tuple)):
        for child in node.items:
            yield from _literals(child)
