"""The chat template at work: what it renders for a fixed plan of conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelcheck.fact import Missing, fact
from modelcheck.render.renderer import Renderer, RendererError

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
    """Everything that one template rendered. `syntax_error` or `killed` says why there is nothing.

    `supply` are the variables that had to be given, `parts` says that contents were given as lists of parts, and
    `needs_role` is the role without a message of which a user message cannot be rendered.
    """

    template: Template
    outcomes: tuple[Outcome, ...] = ()
    syntax_error: str | None = None
    line: int | None = None
    killed: str | None = None
    supply: tuple[str, ...] = ()
    parts: bool = False
    switches: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    needs_role: str | None = None

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
    try:
        return {name: _rendering(t, renderer.run_plan(t.text, variables)) for name, t in chat_template.items()}
    except RendererError as error:
        raise Missing(str(error)) from error


def _rendering(template: Template, answer: Mapping[str, Any]) -> Rendering:
    if "stalled" in answer:
        raise Missing(
            f"the chat template was not rendered: {answer['stalled']}", remedy="the machine is busy, run again"
        )
    if "killed" in answer:
        return Rendering(template, killed=answer["killed"])
    if "error" in answer:
        return Rendering(template, syntax_error=answer["error"]["message"], line=answer["error"]["line"])
    return Rendering(
        template,
        tuple(map(_outcome, answer["outcomes"])),
        supply=tuple(answer["supply"]),
        parts=answer["parts"],
        switches={name: tuple(values) for name, values in answer["switches"].items()},
        needs_role=answer["needs_role"],
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
