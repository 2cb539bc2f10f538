"""Which tokens a set-up really puts before the model, as opposed to those that a file merely names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from modelcheck.fact import fact

from .conversations import Rendering
from .special_tokens import SpecialTokens
from .tokenizer import Tokenizer


@fact
def emitted(
    tokenizer: Tokenizer, special_tokens: SpecialTokens, conversations: Mapping[str, Rendering] | None = None
) -> Mapping[int, tuple[str, ...]]:
    """{id: who emits it, in words} of the added tokens that come up whatever a user writes.

    The chat template's own tokens under every switch, what encoding puts around a text (BOS, if it really does), and
    the EOS, which trainers append. Pad, unk, mask and a BOS that nothing adds are named by files but not emitted.
    """
    found: dict[int, list[str]] = defaultdict(list)
    for number, by in _emissions(tokenizer, special_tokens, conversations or {}):
        if by not in found[number]:
            found[number].append(by)
    return {number: tuple(by) for number, by in sorted(found.items())}


def _emissions(
    tokenizer: Tokenizer, special_tokens: SpecialTokens, conversations: Mapping[str, Rendering]
) -> Iterator[tuple[int, str]]:
    for rendering in conversations.values():
        ids = {i for text in {o.text for o in rendering.outcomes if o.text} for i in tokenizer.encode(text)}
        yield from (
            (i, f"written by the chat template ({rendering.template.file})") for i in ids & set(tokenizer.added)
        )
    framed = set(tokenizer.encode("a", add_special_tokens=True)) - set(tokenizer.encode("a"))
    yield from ((i, "put around every text by tokenizer.json") for i in framed)
    eos = special_tokens.by_role.get("eos_token")
    number = tokenizer.id(eos.content) if eos else None
    if eos and number is not None:
        yield number, f"eos_token in {eos.file}, which trainers append"
