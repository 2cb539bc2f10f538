"""What tokenizer and chat template of a tuned checkpoint do otherwise than its base's.

Compared is what they do, not how it is written: every version of transformers writes tokenizer.json in its own way, and
moves the template from one file to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from modelcheck.fact import fact
from modelcheck.render.renderer import Renderer

from .base import blaming_the_base
from .chat_template import Template
from .conversations import Rendering
from .conversations import rendered as render
from .files import Files
from .special_tokens import SpecialTokens
from .tokenizer import Tokenizer
from .tokenizer import tokenizer as read_tokenizer

# What normalizers, pre-tokenizers and post-processors treat each in their own way.
PROBES = (
    "Hello World, isn't it 3.14159 or 1234567 x_y?",
    "  two  spaces,\ta tab\n\nand lines \n",
    "def f(x):\n    return x + 1  # done",
    "Straße ÀÉÎ e\u0301 ﬁn Å \u00a0nbsp\u200bzero",
    "日本語 中文 العربية हिन्दी 🙂👍🏽",
    "a",
    " A",
)


class Moved(NamedTuple):
    """A token of the base, its id there, and what the id is now; None where the token is gone.

    `added` says that the base has it beside the vocabulary proper, as special and reserved tokens are.
    """

    token: str
    base: int
    own: int | None
    added: bool


class Recut(NamedTuple):
    """A text and the ids that it is cut into, here and in the base."""

    text: str
    own: tuple[int, ...]
    base: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenizerDrift:
    """The tokens of the base under other ids, and the texts that are cut otherwise; tokens that were added are none."""

    moved: tuple[Moved, ...] = ()
    recut: tuple[Recut, ...] = ()


class OtherText(NamedTuple):
    """The first conversation that the base renders and this side otherwise; `own` is None where it does not at all."""

    name: str
    template: Template
    conversation: str
    own: str | None
    base: str


@fact
def tokenizer_drift(
    tokenizer: Tokenizer, base_files: Files, tokenizer_json: str | None = None, base_tokenizer_json: str | None = None
) -> TokenizerDrift:
    """Two tokenizers side by side; that of the base is not parsed where both files are equal to the byte."""
    if tokenizer_json is not None and tokenizer_json == base_tokenizer_json:
        return TokenizerDrift()
    own = tokenizer.ids
    with blaming_the_base(needed=True):
        base = read_tokenizer(base_files, base_tokenizer_json)
    gone = sorted((i, token) for token, i in base.ids.items() if own.get(token) != i)
    moved = tuple(Moved(token, i, own.get(token), i in base.added) for i, token in gone)
    return TokenizerDrift(moved, tuple(_recut(tokenizer, base)))


def _recut(own: Tokenizer, base: Tokenizer) -> Iterator[Recut]:
    for text in PROBES:
        for framed in (False, True):
            cuts = [tuple(t.encode(text, add_special_tokens=framed)) for t in (own, base)]
            if cuts[0] != cuts[1]:
                yield Recut(text, *cuts)
                break


@fact
def template_drift(
    files: Files,
    base_chat_template: Mapping[str, Template],
    base_special_tokens: SpecialTokens,
    renderer: Renderer,
    rendered: Mapping[str, Rendering] | None = None,
) -> tuple[OtherText, ...]:
    """For each template of the base, what it renders otherwise here; one that is gone counts as nothing rendered."""
    if rendered is None:
        files.require("tokenizer_config.json", "there is no tokenizer")
    own = rendered or {}
    changed = {name: t for name, t in base_chat_template.items() if name not in own or _other(own[name].template, t)}
    theirs = render(changed, base_special_tokens, renderer) if changed else {}
    found = (_first(name, rendering, own.get(name)) for name, rendering in theirs.items() if rendering.healthy)
    return tuple(filter(None, found))


def _other(own: Template, base: Template) -> bool:
    return own.text.strip() != base.text.strip()


def _first(name: str, base: Rendering, own: Rendering | None) -> OtherText | None:
    if own is None:
        return OtherText(name, base.template, "user", None, base.text("user") or "")
    for outcome in base.outcomes:
        text = own.text(outcome.name, clock=outcome.clock, switches=outcome.switches)
        # Under a switch that a template has no more it renders as without.
        text = own.text(outcome.name, clock=outcome.clock) if text is None and outcome.switches else text
        if outcome.text is not None and text != outcome.text:
            return OtherText(name, own.template, outcome.name, text, outcome.text)
    return None
