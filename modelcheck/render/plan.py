"""The conversations that every template is rendered with, and the switches it is rendered under.

Sentinels stand for contents, so that a rule can find where a message went: `ZQ1` the first user message, `ZA1` the
first assistant message, `ZS1` the system message. Imports nothing of modelcheck: it runs inside the child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2 import nodes

USER, ASSISTANT, SYSTEM = "ZQ1", "ZA1", "ZS1"
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
U2 = {"role": "user", "content": "ZQ2"}
A2 = {"role": "assistant", "content": "ZA2"}
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
UNDER_SWITCHES = ("user", "prompt", "chat", "system_prompt")
# What a template may expect besides messages; tried in turn where a plain conversation fails.
SUPPLIES: tuple[dict[str, Any], ...] = ({}, {"tools": []}, {"tools": [TOOL]}, {"documents": []})


def in_parts(conversation: dict[str, Any]) -> dict[str, Any]:
    """The same conversation with every content as a list of parts, as multimodal templates want it."""
    messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in conversation["messages"]]
    return {**conversation, "messages": messages}


def switches(env: jinja2.Environment, template: nodes.Template, known: set[str]) -> dict[str, list[Any]]:
    """{name: values to try} of the names that the caller may set and that the template branches on.

    A name counts where it stands alone as a condition (True and False are tried) or is compared with literals
    (those are tried); not where it is only printed or tested for being defined.
    """
    free = jinja2.meta.find_undeclared_variables(template) - known - set(env.globals)
    found: dict[str, list[Any]] = {}
    for name, value in _uses(template):
        if name in free and value not in found.setdefault(name, []) and len(found[name]) < MAX_VALUES:
            found[name].append(value)
    return dict(list(found.items())[:MAX_SWITCHES])


def _uses(template: nodes.Template) -> Iterator[tuple[str, Any]]:
    for branch in template.find_all((nodes.If, nodes.CondExpr)):
        yield from ((name, value) for name in _conditions(branch.test) for value in (True, False))
    for test in template.find_all(nodes.Compare):
        if isinstance(test.expr, nodes.Name):
            yield from ((test.expr.name, value) for operand in test.ops for value in _literals(operand.expr))
    for test in template.find_all(nodes.Test):
        if isinstance(test.node, nodes.Name) and test.name in ("true", "false"):
            yield from ((test.node.name, value) for value in (True, False))


def _conditions(test: nodes.Node) -> Iterator[str]:
    if isinstance(test, nodes.Name):
        yield test.name
    elif isinstance(test, (nodes.Not, nodes.And, nodes.Or)):
        for child in test.iter_child_nodes():
            yield from _conditions(child)


def _literals(node: nodes.Node) -> Iterator[Any]:
    if isinstance(node, nodes.Const) and isinstance(node.value, (str, bool, int)):
        yield node.value
    elif isinstance(node, (nodes.List, nodes.Tuple)):
        for child in node.items:
            yield from _literals(child)
