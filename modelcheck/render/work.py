"""What a child does with one template: render the whole plan, or a list of given conversations."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import jinja2

from . import environment, plan
from .sentinels import ASSISTANT, USER

NO_FIELD = re.compile(r"UndefinedError: 'dict object' has no attribute '(\w+)'")
UNDEFINED = re.compile(r"UndefinedError: '(\w+)' is undefined")


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """{"error": {...}} where the template does not compile, else {"outcomes": [...], ...}."""
    session = Session(request["template"], request["variables"])
    error = session.compile()
    if error:
        return {"error": error}
    if "conversations" in request:
        return {"outcomes": [session.outcome(**c) for c in request["conversations"]]}
    return PlanRun(session).answer()


class Session:
    """One template, compiled once, and the clock that it sees."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        self.source, self.variables = source, dict(variables)
        self.now = plan.CLOCKS[0]
        self.env = environment.environment(lambda: datetime.fromisoformat(self.now))

    def compile(self) -> dict[str, Any] | None:
        """Compile the template; the error where it cannot be."""
        try:
            # What from_string does in one go, so that the plan can read the tree and the names that the code looks up.
            self.tree = self.env.parse(self.source)
            self.code = self.env.compile(self.tree, raw=True)
            compiled = compile(self.code, "<template>", "exec")
            self.template = jinja2.Template.from_code(self.env, compiled, self.env.make_globals(None))
        except jinja2.TemplateSyntaxError as error:
            return {"message": str(error.message), "line": error.lineno}
        except RecursionError:
            return {"message": "it is nested too deeply to be compiled", "line": None}
        except MemoryError:
            raise
        except Exception as error:  # jinja2 lets some faults through to Python's own compiler
            return {"message": f"{type(error).__name__}: {error}"[:500], "line": None}
        return None

    def outcome(self, clock: str = plan.CLOCKS[0], *, blocks_too: bool = False, **conversation: Any) -> dict[str, Any]:
        """{"text": ...} or {"error": ...} of one conversation; with `blocks_too`, the spans of generation blocks."""
        self.now = clock
        random.seed(0)  # so that what differs between two clocks differs because of them
        try:
            keywords = {**self.variables, **conversation}
            text = environment.render(self.template, source=self.source, **keywords)
            blocks = environment.render_blocks(self.template, source=self.source, **keywords) if blocks_too else None
        except MemoryError:
            raise
        except environment.OutputTooLong:
            return {"error": f"it writes more than {environment.OUTPUT_LIMIT >> 20} MB", "flood": True}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:500]}
        return {"text": text} if blocks is None else {"text": text, "blocks": blocks}


class PlanRun:
    """Every conversation of the plan, in the style that the template understands best."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.free = plan.free_names(session.code) - set(session.variables) - set(session.env.globals)
        self.supply, self.parts, self.score = self._style()

    def answer(self) -> dict[str, Any]:
        """Outcomes, and how they were come by."""
        switches = plan.switches(self.session.tree, self.free - set(self.supply))
        return {
            "outcomes": [*self._outcomes(switches)],
            "supply": sorted(self.supply),
            "parts": self.parts,
            "switches": switches,
            "needs_role": None if self.score else self._needed_role(),
            "needs_field": None if self.score else self._needed_field(),
        }

    def _outcomes(self, switches: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
        for name in plan.CONVERSATIONS:
            yield self._outcome(name)
        for name in plan.AT_SECOND_CLOCK:
            yield self._outcome(name, clock=1)
        for switch, values in switches.items():
            for value in values:
                for name in plan.UNDER_SWITCHES:
                    yield self._outcome(name, given={switch: value})
                yield self._outcome("prompt", clock=1, given={switch: value})
        other = self._styled("system", parts=not self.parts)
        yield {"name": "system_other_style", "clock": 0, "switches": {}, **self.session.outcome(**other)}

    def _outcome(self, name: str, *, clock: int = 0, given: Mapping[str, Any] = {}) -> dict[str, Any]:
        styled = self._styled(name, parts=self.parts)
        bare = {
            key: value for key, value in styled.items() if key not in self.supply or key in plan.CONVERSATIONS[name]
        }
        result = self.session.outcome(clock=plan.CLOCKS[clock], **bare, **given)
        if self.supply and "error" in result:  # what a lone user message needs may be amiss with a system message
            result = self.session.outcome(clock=plan.CLOCKS[clock], **styled, **given)
        return {"name": name, "clock": clock, "switches": given, **result}

    def _styled(self, name: str, *, parts: bool) -> dict[str, Any]:
        conversation = plan.CONVERSATIONS[name]
        return {**self.supply, **(plan.in_parts(conversation) if parts else conversation)}

    def _style(self) -> tuple[dict[str, Any], bool, int]:
        # The first way in which most of a conversation of one turn arrives in the text.
        best: tuple[dict[str, Any], bool, int] = ({}, False, 0)
        for parts in (False, True):
            for given in plan.SUPPLIES:
                self.supply = dict(given)
                user = self._completed(parts)
                chat = self.session.outcome(**self._styled("chat", parts=parts)).get("text", "")
                score = 0 if user is None else 1 + (USER in user) + (ASSISTANT in chat)
                if score > best[2]:
                    best = self.supply, parts, score
                if score == 3:
                    return best
        return best

    def _completed(self, parts: bool) -> str | None:
        # A lone user message, with a value for every variable that the template turns out to need.
        for _ in range(plan.MAX_UNDEFINED + 1):
            result = self.session.outcome(**self._styled("user", parts=parts))
            if "text" in result:
                return str(result["text"])
            undefined = UNDEFINED.match(result["error"])
            if not undefined or undefined[1] not in self.free:
                break
            self.supply[undefined[1]] = plan.VALUE
        return None

    def _needed_role(self) -> str | None:
        for role in plan.roles(self.session.tree):
            messages = [{"role": role, "content": plan.VALUE}, plan.U1]
            if "text" in self.session.outcome(messages=messages):
                return role
        return None

    def _needed_field(self) -> str | None:
        absent = NO_FIELD.match(self.session.outcome(messages=[plan.U1]).get("error", ""))
        if not absent:
            return None
        message = {**plan.U1, absent[1]: plan.VALUE}
        return absent[1] if "text" in self.session.outcome(messages=[message]) else None
