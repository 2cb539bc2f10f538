"""What a child does with one template: render the whole plan, or a list of given conversations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import environment
import jinja2
import jinja2.meta
import plan


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """{"error": {...}} where the template does not compile, else {"outcomes": [...], ...}."""
    session = Session(request["template"], request["variables"])
    error = session.compile()
    if error:
        return {"error": error}
    if "conversations" in request:
        return {"outcomes": [session.outcome(**c) for c in request["conversations"]]}
    return session.run_plan()


class Session:
    """One template, compiled once, and the clock that it sees."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        self.source, self.variables = source, dict(variables)
        self.now = plan.CLOCKS[0]
        self.env = environment.environment(lambda: datetime.fromisoformat(self.now))

    def compile(self) -> dict[str, Any] | None:
        """Compile the template; the error where it cannot be."""
        try:
            self.template = self.env.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            return {"message": str(error.message), "line": error.lineno}
        except RecursionError:
            return {"message": "it is nested too deeply to be compiled", "line": None}
        return None

    def outcome(self, clock: str = plan.CLOCKS[0], **conversation: Any) -> dict[str, Any]:
        """{"text": ...} or {"error": ...} of one conversation."""
        self.now = clock
        try:
            text = environment.render(self.template, source=self.source, **{**self.variables, **conversation})
        except MemoryError:
            raise
        except environment.OutputTooLong:
            return {"error": f"it writes more than {environment.OUTPUT_LIMIT >> 20} MB", "flood": True}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:500]}
        return {"text": text}

    def run_plan(self) -> dict[str, Any]:
        """Every conversation of the plan, in the style that the template understands."""
        supply, parts = self._style()
        switches = self._switches()
        outcomes = []

        def add(name: str, conversation: dict[str, Any], *, clock: int = 0, given: Mapping[str, Any] = {}) -> None:
            styled = plan.in_parts(conversation) if parts else conversation
            result = self.outcome(clock=plan.CLOCKS[clock], **{**supply, **styled, **given})
            outcomes.append({"name": name, "clock": clock, "switches": given, **result})

        for name, conversation in plan.CONVERSATIONS.items():
            add(name, conversation)
        for name in plan.AT_SECOND_CLOCK:
            add(name, plan.CONVERSATIONS[name], clock=1)
        for switch, values in switches.items():
            for value in values:
                for name in plan.UNDER_SWITCHES:
                    add(name, plan.CONVERSATIONS[name], given={switch: value})
                add("prompt", plan.CONVERSATIONS["prompt"], clock=1, given={switch: value})
        other = plan.CONVERSATIONS["system"] if parts else plan.in_parts(plan.CONVERSATIONS["system"])
        outcomes.append(
            {"name": "system_other_style", "clock": 0, "switches": {}, **self.outcome(**{**supply, **other})}
        )
        return {"outcomes": outcomes, "supply": sorted(supply), "parts": parts, "switches": switches}

    def _style(self) -> tuple[dict[str, Any], bool]:
        # The first way in which a lone user message renders; where none does, the plain one, whose error is told.
        user = plan.CONVERSATIONS["user"]
        for parts in (False, True):
            for supply in plan.SUPPLIES:
                styled = plan.in_parts(user) if parts else user
                if "text" in self.outcome(**{**supply, **styled}):
                    return supply, parts
        return {}, False

    def _switches(self) -> dict[str, list[Any]]:
        known = {"messages", "tools", "documents", "add_generation_prompt", *self.variables}
        return plan.switches(self.env, self.env.parse(self.source), known)
