"""The chat template at work: what it renders for a fixed plan of conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelcheck.fact import Missing, fact
from modelcheck.render.renderer import Renderer

from .chat_template import Template
from .special_tokens import SpecialTokens


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

    @property
    def under(self) -> str:
        """` with enable_thinking=True`, for messages; empty without switches."""
        return "".join(f" with {name}={value!r}" for name, value in self.switches.items())


@dataclass(frozen=True, slots=True)
class Rendering:
    """Everything that one template rendered. `syntax_error` or `killed` says why there is nothing."""

    template: Template
    outcomes: tuple[Outcome, ...] = ()
    syntax_error: str | None = None
    line: int | None = None
    killed: str | None = None
    supply: tuple[str, ...] = ()
    parts: bool = False
    switches: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def text(self, name: str, *, clock: int = 0, switches: Mapping[str, Any] | None = None) -> str | None:
        """The text of a conversation, or None where it raised or was not rendered so."""
        wanted = switches or {}
        return next(
            (o.text for o in self.outcomes if o.name == name and o.clock == clock and o.switches == wanted), None
        )

    def named(self, *names: str) -> Iterator[Outcome]:
        """The outcomes of these conversations at the first clock, under no switch and then under each."""
        return (o for o in self.outcomes if o.name in names and o.clock == 0)

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
    return {name: _rendering(t, renderer.run_plan(t.text, variables)) for name, t in chat_template.items()}


def _rendering(template: Template, answer: Mapping[str, Any]) -> Rendering:
    if "killed" in answer:
        return Rendering(template, killed=answer["killed"])
    if "error" in answer:
        return Rendering(template, syntax_error=answer["error"]["message"], line=answer["error"]["line"])
    outcomes = tuple(
        Outcome(o["name"], o["clock"], o["switches"], o.get("text"), o.get("error"), o.get("flood", False))
        for o in answer["outcomes"]
    )
    switches = {name: tuple(values) for name, values in answer["switches"].items()}
    return Rendering(template, outcomes, supply=tuple(answer["supply"]), parts=answer["parts"], switches=switches)


@fact
def conversations(rendered: Mapping[str, Rendering]) -> Mapping[str, Rendering]:
    """{template name: what it renders} of the templates that render a plain user message."""
    healthy = {name: rendering for name, rendering in rendered.items() if rendering.healthy}
    if not healthy:
        raise Missing("the chat template renders nothing; see its own finding")
    return healthy
