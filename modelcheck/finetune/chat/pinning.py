"""Sampling parameters for one server: every one in each request, and in words what it does not take.

Servers fill what a request leaves open from the checkpoint's generation_config.json, or from defaults of their own.
Some refuse a field that they do not know, some ignore it in silence: so they are asked, and their answers compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelcheck.finetune.chat.client import Reply
from modelcheck.finetune.chat.endpoint import ChatError
from modelcheck.finetune.job import Generation

Send = Callable[..., Reply]
# Values under which nothing but the likeliest token is left.
FORCING: Mapping[str, Any] = {"top_p": 1e-6, "top_k": 1, "min_p": 1.0}
HOT = 2.0
TRIED_TOKENS = 24
# A parameter under the names that servers know it by.
ALIASES = {"top_k": ("top_k",), "min_p": ("min_p",), "repetition_penalty": ("repetition_penalty", "repeat_penalty")}
OFF: Mapping[str, Any] = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass
class Pinned:
    """What goes into each request of a server; `notes` says what it does not take.

    `fixed` are the fields that every request has in common, `refused` the names of those that were left out.
    """

    gen: Generation
    fixed: dict[str, Any]
    refused: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def body(self, seed: int) -> dict[str, Any]:
        """The fields of a request whose draws are those of `seed`."""
        return self.fixed | ({} if self.gen.greedy or "seed" in self.refused else {"seed": seed})


def negotiated(
    send: Send, gen: Generation, stop_ids: Sequence[int], wanted: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[Pinned, Reply]:
    """What a server takes, found by `send`, which puts a first question with the fields that it is given; its answer.

    `wanted` are other fields that are left out where they are refused, `defaults` what generation_config.json says.
    Raises ChatError where the server refuses a parameter that matters.
    """
    required: dict[str, Any] = {"temperature": gen.temperature, "top_p": gen.top_p, "max_tokens": gen.max_tokens}
    required |= {"stop": list(gen.stop)} if gen.stop else {}
    optional: dict[str, Any] = {"frequency_penalty": 0.0, "presence_penalty": 0.0}
    optional |= {"seed": 0} if not gen.greedy else {}
    for name, aliases in ALIASES.items():
        optional |= dict.fromkeys(aliases, getattr(gen, name))
    optional |= {"stop_token_ids": list(stop_ids)} if stop_ids else {}
    offered = {**required, **optional, **wanted}
    reply, refused = accepted(send, offered, {*optional, *wanted})
    fixed = {name: value for name, value in left(offered, refused).items() if name != "seed"}
    pinned = Pinned(gen, fixed, refused)
    lost = [name for name, aliases in ALIASES.items() if refused.issuperset(aliases)]
    if lost and (whole := _as_generation_config(send, pinned, stop_ids)):
        return pinned, whole
    _without(pinned, lost, defaults)
    return pinned, reply


def accepted(
    send: Send, offered: Mapping[str, Any], optional: Collection[str], refused: Collection[str] = ()
) -> tuple[Reply, set[str]]:
    """The answer to a question without the fields that the server refuses, and the names of those.

    Only `optional` fields are left out, and those `refused` before; `max_tokens` takes its newer name. Raises ChatError
    where what is left is refused too.
    """
    known = set(refused)
    while True:
        try:
            return send(**left(offered, known)), known
        except ChatError as error:
            others = offered.keys() & set(optional) - known
            if error.kind != "request" or not (more := _named(error.said, offered, others, known) or others):
                raise
            known |= more


def left(offered: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The fields of a question without those that the server refuses, its length under the newer name if need be."""
    body = {name: value for name, value in offered.items() if name not in refused}
    if "max_tokens" in refused:
        body["max_completion_tokens"] = offered["max_tokens"]
    return body


def _named(said: str, offered: Mapping[str, Any], others: Collection[str], known: Collection[str]) -> set[str]:
    """The fields that a refusal names."""
    if re.search(r"\bmax_(completion_)?tokens\b", said) and "max_tokens" in offered.keys() - known:
        return {"max_tokens"}
    return {name for name in others if re.search(rf"\b{name}\b", said)}


def _as_generation_config(send: Send, pinned: Pinned, stop_ids: Sequence[int]) -> Reply | None:
    """Everything as the one field `generation_config`, as `transformers serve` takes it; None where it is refused."""
    gen = pinned.gen
    settings = {
        "max_new_tokens": gen.max_tokens,
        "do_sample": not gen.greedy,
        "top_k": max(gen.top_k, 0),
        "min_p": gen.min_p or None,
        "repetition_penalty": gen.repetition_penalty,
        "stop_strings": list(gen.stop) or None,
        "eos_token_id": list(stop_ids) or None,
        "pad_token_id": stop_ids[0] if stop_ids else 0,
    }
    # This server makes a repetition penalty of its frequency penalty.
    fixed = {name: value for name, value in pinned.fixed.items() if name != "frequency_penalty"}
    fixed["generation_config"] = json.dumps(settings)
    try:
        reply = send(**fixed)
    except ChatError as error:
        if error.kind != "request":
            raise
        return None
    pinned.fixed = fixed
    return reply


def _without(pinned: Pinned, lost: Sequence[str], defaults: Mapping[str, Any]) -> None:
    """Note what cannot be pinned. Raises ChatError where that changes answers."""
    for name in lost:
        wanted, standing = getattr(pinned.gen, name), defaults.get(name)
        if pinned.gen.greedy and name in FORCING:
            continue  # the likeliest token is the likeliest under any of them
        if wanted != OFF[name]:
            raise ChatError(f"the server refuses {name}: leave gen.{name} out, or serve with another server", "request")
        if standing not in (None, wanted) and not (name == "top_k" and standing == 0):
            raise ChatError(
                f"the server refuses {name} in a request, and the checkpoint's generation_config.json says {standing}: "
                "remove it there, or serve with another server",
                "request",
            )
        pinned.notes.append(f"{name} is refused by the server: its own default holds")


def verify(send: Send, pinned: Pinned) -> None:
    """Ask whether what was taken is heeded, and note what is not. Raises ChatError where that changes answers.

    `send` puts one question, always the same.
    """
    gen = pinned.gen
    if gen.repetition_penalty != 1:
        _verify_penalty(send, pinned)
    if gen.greedy:
        return
    short = pinned.body(0) | {"max_tokens": TRIED_TOKENS}
    plain = {**short, "temperature": HOT} | {name: OFF[name] for name in FORCING if name in short}
    likeliest, hot = send(**{**short, "temperature": 0.0}).text, send(**plain).text
    if "seed" in plain and send(**plain).text != hot:
        pinned.notes.append("seed is ignored by the server: a second run draws other answers")
    if hot == likeliest:
        pinned.notes.append(f"its draws are all alike: whether it heeds {', '.join(FORCING)} could not be seen")
        return
    for name, value in FORCING.items():
        if name in pinned.fixed and send(**{**plain, name: value}).text != likeliest:
            _ignored(pinned, name)


def _verify_penalty(send: Send, pinned: Pinned) -> None:
    names = [name for name in ALIASES["repetition_penalty"] if name in pinned.fixed]
    short = pinned.fixed | {"max_tokens": TRIED_TOKENS, "temperature": 0.0}
    texts = {send(**{**short, **dict.fromkeys(names, value)}).text for value in (1.0, 100.0)}
    if names and len(texts) == 1:
        _ignored(pinned, "repetition_penalty")


def _ignored(pinned: Pinned, name: str) -> None:
    if getattr(pinned.gen, name) != OFF[name]:
        raise ChatError(
            f"the server takes {name} and does not heed it: leave gen.{name} out, or serve with another server",
            "request",
        )
    pinned.notes.append(f"{name} is ignored by the server: its own default holds")
