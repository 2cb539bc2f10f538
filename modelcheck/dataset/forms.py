"""The forms that rows come in, recognised by their columns or named, and what each makes of a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcheck.dataset.columns import BadValue, Row, as_text, column, part
from modelcheck.dataset.example import Message, text_of

# What `columns` may name.
COLUMNS = ("messages", "tools", "system", "prompt", "answer", "reference", "criteria")
# Columns of a question and its answer that are recognised without being named.
PAIRS = (("prompt", "completion"), ("prompt", "answer"), ("prompt", "response"), ("question", "answer"))
ALPACA_INPUT = "{instruction}\n\n{input}"
# Who speaks in ShareGPT's `from`, and what the role is called in chat templates.
SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
EXPECTED = (
    "expected messages (OpenAI), conversations (ShareGPT), prompt and completion, instruction and output (Alpaca), "
    "question and answer, or text; a job file names others with columns"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a form makes of a row; `text` stands alone."""

    messages: tuple[Message, ...] = ()
    tools: Sequence[Mapping[str, Any]] | None = None
    reference: Any = None
    criteria: str | None = None
    text: str | None = None


def recognise(row: Row) -> str:
    """The form that a row's columns have. Raises BadValue where they have none that is known."""
    if "messages" in row:
        return "messages"
    if "conversations" in row:
        return "sharegpt"
    if "chosen" in row:
        return "preference"
    if "instruction" in row and "output" in row:
        return "alpaca"
    if any(question in row and answer in row for question, answer in PAIRS) or "prompt" in row:
        return "prompt_completion"
    if "text" in row:
        return "text"
    raise BadValue(f"has the columns {', '.join(map(repr, row)) or 'none'}; {EXPECTED}")


def parts(row: Row, form: str | None, columns: Mapping[str, str]) -> Parts:
    """A row taken apart by its form, or by the columns that were named. Raises BadValue."""
    if columns:
        return _by_columns(row, columns)
    return FORMS[form or recognise(row)](row)


def _messages(row: Row) -> Parts:
    return Parts(messages(part("messages", row)), tools(row.get("tools")))


def _sharegpt(row: Row) -> Parts:
    turns = _listed(part("conversations", row), "conversations")
    # Some data sets keep OpenAI's messages under ShareGPT's name.
    openai = all(isinstance(turn, Mapping) and "role" in turn for turn in turns)
    found = messages(turns) if openai else tuple(map(_turn, turns))
    system = row.get("system")
    opening = ({"role": "system", "content": system},) if isinstance(system, str) and system else ()
    return Parts((*opening, *found), tools(row.get("tools")))


def _turn(turn: Any) -> Message:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("from"), str):
        raise BadValue("a turn of 'conversations' has no 'from', expected {'from': ..., 'value': ...}")
    if turn["from"] == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": [_call(turn.get("value"))]}
    return {"role": SHAREGPT.get(turn["from"], turn["from"]), "content": as_text(turn.get("value"), "value")}


def _call(value: Any) -> dict[str, Any]:
    call = _from_json(value, "a function_call")
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise BadValue("a function_call is expected as JSON with name and arguments")
    return {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}}


def _alpaca(row: Row) -> Parts:
    pattern = ALPACA_INPUT if "input" in row and column("input", row) else "instruction"
    return _by_columns(row, {"prompt": pattern, "answer": "output"} | ({"system": "system"} if "system" in row else {}))


def _prompt_completion(row: Row) -> Parts:
    question, answer = next(((q, a) for q, a in PAIRS if q in row and a in row), ("prompt", None))
    optional = {key: key for key in ("system", "tools", "reference") if key in row}
    return _by_columns(row, {"prompt": question} | ({"answer": answer} if answer else {}) | optional)


def _preference(row: Row) -> Parts:
    """The prompt and the answer that was preferred; where there is no prompt, `chosen` is the whole conversation."""
    return _by_columns(row, ({"prompt": "prompt"} if row.get("prompt") else {}) | {"answer": "chosen"})


def _text(row: Row) -> Parts:
    return Parts(text=as_text(part("text", row), "text"))


FORMS: Mapping[str, Callable[[Row], Parts]] = {
    "messages": _messages,
    "prompt_completion": _prompt_completion,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "preference": _preference,
    "text": _text,
}


def _by_columns(row: Row, columns: Mapping[str, str]) -> Parts:
    found: list[Message] = []
    if "system" in columns and (system := as_text(part(columns["system"], row), "system")):
        found.append({"role": "system", "content": system})
    for key in ("messages", "prompt", "answer"):
        if key in columns:
            value = part(columns[key], row)
            role = "assistant" if key == "answer" else "user"
            spoken = isinstance(value, (list, tuple)) or key == "messages"
            found += messages(value) if spoken else ({"role": role, "content": as_text(value, columns[key])},)
    reference = part(columns["reference"], row) if "reference" in columns else None
    given = tools(part(columns["tools"], row)) if "tools" in columns else None
    criteria = criteria_of(part(columns["criteria"], row)) if "criteria" in columns else None
    return Parts(tuple(found), given, reference, criteria)


def criteria_of(value: Any) -> str:
    """Criteria as one text: a text, or a list of them as its points. Raises BadValue."""
    if isinstance(value, (list, tuple)) and all(isinstance(point, str) for point in value):
        return "\n".join(f"- {point}" for point in value)
    if not isinstance(value, str):
        raise BadValue(f"the criteria are a {type(value).__name__}, expected a text or a list of texts")
    return value


def messages(value: Any) -> tuple[Message, ...]:
    """Messages as chat templates take them: without null values, tool calls with their arguments as objects."""
    return tuple(map(_message, _listed(value, "messages")))


def _message(message: Any) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise BadValue("a message has no 'role', expected {'role': ..., 'content': ...}")
    kept = {key: value for key, value in message.items() if value is not None}
    if not kept.get("tool_calls"):
        kept.pop("tool_calls", None)
    else:
        kept["tool_calls"] = [_with_object(call) for call in _listed(kept["tool_calls"], "tool_calls")]
    if not isinstance(kept.get("content", ""), (str, list, tuple)):
        raise BadValue(f"the content of a message is a {type(kept['content']).__name__}, expected a text")
    return kept


def _with_object(call: Any) -> Any:
    # OpenAI's own form holds the arguments as JSON in a text; templates print what they get as JSON once more.
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def tools(value: Any) -> Sequence[Mapping[str, Any]] | None:
    """The tools of a row; as JSON in a text too."""
    return _listed(value, "tools") if value else None


def _listed(value: Any, name: str) -> list[Any]:
    value = _from_json(value, repr(name)) if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)):
        raise BadValue(f"{name!r} is a {type(value).__name__}, expected a list")
    return [*value]


def _from_json(value: Any, what: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, TypeError, RecursionError):
        raise BadValue(f"{what} is a text that is no JSON") from None


def reference_of(found: Sequence[Message]) -> str | None:
    """The text of the last answer, where the row ends with one."""
    return text_of(found[-1]) if found and found[-1]["role"] == "assistant" else None
