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
from modelcheck.target import Targets

from .base import base_tokenizer_config as read_base_tokenizer_config
from .chat_template import Template
from .chat_template import chat_template as read_template
from .conversations import Rendering
from .conversations import rendered as render
from .files import Files
from .special_tokens import SpecialTokens
from .special_tokens import special_tokens as read_special_tokens
from .tokenizer import Tokenizer
from .tokenizer import tokenizer as read_tokenizer
from .tokenizer import tokenizer_json as read_tokenizer_json

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
    """A token of the base, its id there, and what the id is now; None where the token is gone."""

    token: str
    base: int
    own: int | None


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
def base_special_tokens(base_files: Files) -> SpecialTokens:
    """The special tokens of the base model."""
    return read_special_tokens(read_base_tokenizer_config(base_files))


@fact
def base_chat_template(base_files: Files, target: Targets) -> Mapping[str, Template]:
    """{name: template} of the base model; a job with a template of its own hands that in."""
    return read_template(base_files, target, read_base_tokenizer_config(base_files))


@fact
def tokenizer_drift(files: Files, tokenizer: Tokenizer, base_files: Files) -> TokenizerDrift:
    """Two tokenizers side by side; files that are equal to the byte are not parsed."""
    if all("tokenizer.json" in side for side in (files, base_files)):
        text = read_tokenizer_json(base_files)
        if read_tokenizer_json(files) == text:
            return TokenizerDrift()
        base = read_tokenizer(base_files, text)
    else:
        base = read_tokenizer(base_files)
    own = tokenizer.ids
    moved = sorted(
        (Moved(token, i, own.get(token)) for token, i in base.ids.items() if own.get(token) != i), key=_by_id
    )
    return TokenizerDrift(tuple(moved), tuple(_recut(tokenizer, base)))


def _by_id(moved: Moved) -> int:
    return moved.base


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
    special_tokens: SpecialTokens,
    base_chat_template: Mapping[str, Template],
    base_special_tokens: SpecialTokens,
    renderer: Renderer,
    chat_template: Mapping[str, Template] | None = None,
) -> tuple[OtherText, ...]:
    """For each template of the base, what it renders otherwise here; one that is gone counts as nothing rendered."""
    if chat_template is None:
        files.require("tokenizer_config.json", "there is no tokenizer")
    kept = chat_template or {}
    changed = {name: t for name, t in base_chat_template.items() if name not in kept or _other(kept[name], t)}
    if not changed:
        return ()
    theirs = render(changed, base_special_tokens, renderer)
    own = render({name: kept[name] for name in changed if name in kept}, special_tokens, renderer)
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
