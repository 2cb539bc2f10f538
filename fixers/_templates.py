"""Changes of a chat template: to be proved on everything that it renders, and written wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from modelcheck.edit import Edit, SetJson, WriteFile
from modelcheck.fact import Missing
from modelcheck.facts.chat_template import Template
from modelcheck.facts.conversations import Outcome, Rendering, rendered
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.finding import Finding
from modelcheck.fixer import CannotFix
from modelcheck.render.renderer import Renderer


def blamed(finding: Finding, conversations: Mapping[str, Rendering]) -> Rendering:
    """What the template renders that a finding is about."""
    return next(r for r in conversations.values() if (r.template.file, r.template.at) == (finding.file, finding.at))


def template_edits(template: Template, text: str, places: Sequence[tuple[str, Template]]) -> Iterator[Edit]:
    """The new text in every place that holds the old one, so that no two runtimes see two templates.

    Raises CannotFix where the template is none of the checkpoint's.
    """
    copies = [place for _, place in places if place.text.strip() == template.text.strip()]
    if template not in copies:
        raise CannotFix(
            f"the template is that of {template.file}, which is no file of this checkpoint; change it there"
        )
    for place in copies:
        yield write(place, text)


def write(place: Template, text: str) -> Edit:
    """The text in one place."""
    if place.at is None:
        return WriteFile(place.file, text.encode())
    return SetJson(place.file, place.at, text)


def proved(
    rendering: Rendering,
    text: str,
    special_tokens: SpecialTokens,
    renderer: Renderer,
    expected: Callable[[Outcome, str], str],
) -> bool:
    """Whether the new text renders every conversation as `expected` says, from the outcome so far and its text."""
    try:
        [after] = rendered({"default": replace(rendering.template, text=text)}, special_tokens, renderer).values()
    except Missing as reason:
        raise CannotFix(str(reason)) from reason
    new = {_which(outcome): outcome for outcome in after.outcomes}
    return all(_as_expected(outcome, new.get(_which(outcome)), expected) for outcome in rendering.outcomes)


def _as_expected(old: Outcome, new: Outcome | None, expected: Callable[[Outcome, str], str]) -> bool:
    if new is None or old.text is None:
        return new is not None and new.error == old.error
    return new.text == expected(old, old.text)


def _which(outcome: Outcome) -> tuple[str, int, str]:
    return outcome.name, outcome.clock, repr(sorted(outcome.switches.items()))
