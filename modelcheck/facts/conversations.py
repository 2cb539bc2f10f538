"""The chat template at work: what it renders for a fixed plan of conversations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelcheck.fact import Missing, fact
from modelcheck.render.renderer import Renderer, RendererError
from modelcheck.render.sentinels import ASSISTANT, NEXT_USER, USER

from .chat_template import Template
from .special_tokens import SpecialTokens

# More letters than any turn marker has.
PROSE = 24
# The first marker or word of a header.
FIRST = re.compile(r"<[^>]+>|\[[^\]]+\]|[^\s<\[]+")


def _whole_marker(text: str, position: int) -> int:
    # Two texts that part inside a marker, `<|user|>` and `<|assistant|>`, part at its beginning.
    start = max(text.rfind(opening, 0, position) for opening in "<[\n")
    between = text[start:position] if start >= 0 else ""
    return start if between.strip() and not any(closing in between for closing in ">]") else position


@dataclass(frozen=True, slots=True)
class Outcome:
    """One conversation rendered: its text, or the error that the template raised.

    `name` is that of modelcheck/render/plan.py, `clock` 0 or 1 the moment that the template saw, `switches` what the
    caller set.
    """

    name: str
    clock: int
    switches: Mapping[str, Any]
    text: str | None
    error: str | None
    flood: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The conversations that render under one setting of the switches: {name: text}, and the same at a later moment."""

    switches: Mapping[str, Any]
    texts: Mapping[str, str]
    later: Mapping[str, str]

    @property
    def under(self) -> str:
        """` with enable_thinking=True`, for messages; empty without switches."""
        return "".join(f" with {name}={value!r}" for name, value in self.switches.items())

    @property
    def before_assistant(self) -> str | None:
        """What stands between the user message and the assistant's; None where one of them is lost."""
        chat = self.texts.get("chat", "")
        user, assistant = chat.find(USER), chat.rfind(ASSISTANT)
        return chat[user + len(USER) : assistant] if 0 <= user < assistant else None

    @property
    def after_assistant(self) -> str | None:
        """What stands after the last assistant message; None where that is lost."""
        _, found, tail = self.texts.get("chat", "").rpartition(ASSISTANT)
        return tail if found else None

    @property
    def dangling_header(self) -> str:
        """The assistant header that follows even the last assistant message, where a template prints it always."""
        tail, user = self.after_assistant, self.texts.get("user", "")
        between, more, _ = self.texts.get("turns", "").rpartition(ASSISTANT)[2].partition(NEXT_USER)
        if not tail or not more:
            return ""
        # What another turn begins with is no part of it: the end of this one, or a marker that all headers share.
        start = _whole_marker(tail, len(os.path.commonprefix([tail, between])))
        header = tail[start:].strip()
        first = FIRST.match(header)
        opens_turns = first is not None and first[0] in (self.before_assistant or "")
        return header if opens_turns and user.rstrip().endswith(header) else ""

    @property
    def missing_header(self) -> str:
        """What stands before an assistant message and is not there after a lone user message."""
        user, before = self.texts.get("user", ""), self.before_assistant
        if before is None or USER not in user:
            return ""
        after_user = user.rpartition(USER)[2]
        shared = len(os.path.commonprefix([before, after_user]))
        # A guard model's template goes on in prose after the conversation: that is a question, not an open turn.
        prose = sum(map(str.isalpha, after_user[shared:])) > PROSE
        if prose or not before[shared:].strip():
            return ""
        header = before[_whole_marker(before, shared) :]
        # Where all roles have one header, it does not open the assistant's turn.
        before_user = self.texts["chat"].partition(USER)[0]
        return "" if before_user.strip().endswith(header.strip()) else header


@dataclass(frozen=True, slots=True)
class Rendering:
    """Everything that one template rendered. `syntax_error` or `killed` says why there is nothing.

    `supply` are the variables that had to be given, `parts` says that contents were given as lists of parts, and
    `needs_role` and `needs_field` name the role of a message before, or the field in it, that a user message needs.
    """

    template: Template
    name: str = "default"
    outcomes: tuple[Outcome, ...] = ()
    syntax_error: str | None = None
    line: int | None = None
    killed: str | None = None
    supply: tuple[str, ...] = ()
    parts: bool = False
    switches: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needs_role: str | None = None
    needs_field: str | None = None

    def text(self, name: str, *, clock: int = 0, switches: Mapping[str, Any] | None = None) -> str | None:
        """The text of a conversation, or None where it raised or was not rendered so."""
        wanted = switches or {}
        return next(
            (o.text for o in self.outcomes if o.name == name and o.clock == clock and o.switches == wanted), None
        )

    def error(self, name: str) -> str | None:
        """What the template raised on a conversation, under no switch."""
        return next((o.error for o in self.outcomes if o.name == name and not o.switches), None)

    @property
    def flooded(self) -> str | None:
        """How much it wrote, where that had to be cut off."""
        return next((o.error for o in self.outcomes if o.flood), None)

    @property
    def subject(self) -> str:
        """What messages call the template."""
        return "the chat template" if self.name == "default" else f"the chat template {self.name!r}"

    def views(self) -> Iterator[View]:
        """What it renders under no switch, and then under each."""
        settings: list[Mapping[str, Any]] = [{}, *({n: v} for n, values in self.switches.items() for v in values)]
        for switches in settings:
            of = [o for o in self.outcomes if o.switches == switches]
            now, later = ({o.name: o.text for o in of if o.text is not None and o.clock == c} for c in (0, 1))
            yield View(switches, now, later)

    @property
    def healthy(self) -> bool:
        """Whether a plain user message renders."""
        return self.text("user") is not None


@fact
def rendered(
    chat_template: Mapping[str, Template], special_tokens: SpecialTokens, renderer: Renderer
) -> Mapping[str, Rendering]:
    """{template name: what it renders}, those that cannot render included."""
    variables = {role: token.content for role, token in special_tokens.by_role.items()}
    try:
        return {name: _rendering(name, t, renderer.run_plan(t.text, variables)) for name, t in chat_template.items()}
    except RendererError as error:
        raise Missing(str(error)) from error


def _rendering(name: str, template: Template, answer: Mapping[str, Any]) -> Rendering:
    if "stalled" in answer:
        raise Missing(
            f"the chat template was not rendered: {answer['stalled']}", remedy="the machine is busy, run again"
        )
    if "killed" in answer:
        return Rendering(template, name, killed=answer["killed"])
    if "error" in answer:
        error = answer["error"]
        return Rendering(template, name, syntax_error=error["message"], line=error["line"])
    return Rendering(
        template,
        name,
        tuple(map(_outcome, answer["outcomes"])),
        supply=tuple(answer["supply"]),
        parts=answer["parts"],
        switches={name: tuple(values) for name, values in answer["switches"].items()},
        needs_role=answer["needs_role"],
        needs_field=answer["needs_field"],
    )


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    text, error, flood = answer.get("text"), answer.get("error"), answer.get("flood", False)
    return Outcome(answer["name"], answer["clock"], answer["switches"], text, error, flood)


@fact
def conversations(rendered: Mapping[str, Rendering]) -> Mapping[str, Rendering]:
    """{template name: what it renders} of the templates that render a plain user message."""
    healthy = {name: rendering for name, rendering in rendered.items() if rendering.healthy}
    if not healthy:
        raise Missing("no chat template renders a plain user message")
    return healthy
