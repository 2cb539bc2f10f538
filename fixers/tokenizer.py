"""Mending the tokenizer and its special tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.edit import Edit, Note, SetJson
from modelcheck.facts.config import Config
from modelcheck.facts.files import Files, JsonObject
from modelcheck.facts.padding import Pad
from modelcheck.facts.rows import Rows
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.tensors import Tensors
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.untrained import RESERVED, Untrained
from modelcheck.fixer import CannotFix, fixer

from ._new_token import added_token, appended_rows
from ._pad import no_pad_edits, pad_edits
from ._prefix import prefixed

PAD_RULES = ("pad-is-eos", "pad-missing", "pad-out-of-range")


@fixer("pad-out-of-range", safe=True)
def point_the_pad_id_at_the_pad_token(
    files: Files,
    tokenizer: Tokenizer,
    special_tokens: SpecialTokens,
    rows: Rows,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Point the pad id at the tokenizer's own pad token."""
    content = special_tokens.content("pad_token")
    number = tokenizer.id(content) if content else None
    if content and number is not None and number < rows.number and content != special_tokens.content("eos_token"):
        yield from pad_edits(Pad(content, number, "the tokenizer pads with it"), files, config, generation_config)


@fixer(*PAD_RULES, safe=True)
def pad_with_a_reserved_token(
    files: Files,
    reserved_pads: tuple[Pad, ...],
    config: Config | None = None,
    generation_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Pad with the token that is reserved for it."""
    if not reserved_pads:
        raise CannotFix("no token is reserved for padding; name one that nothing emits as pad_token")
    yield from pad_edits(reserved_pads[0], files, config, generation_config)


@fixer(*PAD_RULES, safe=True)
def pad_with_an_untrained_token(
    files: Files,
    idle_tokens: Mapping[int, str],
    untrained: Untrained,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Pad with a reserved token that nothing emits and that was never trained."""
    for number, content in idle_tokens.items():
        if number in untrained.certain and RESERVED.search(content):
            pad = Pad(content, number, "nothing emits it and its embedding row was never trained")
            yield from pad_edits(pad, files, config, generation_config)
            return


@fixer("pad-out-of-range", safe=True)
def drop_the_pad_id(
    special_tokens: SpecialTokens,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Drop a pad id that has no row."""
    if special_tokens.content("pad_token") is None:
        yield from no_pad_edits(config, generation_config)
        yield Note("no token is reserved for padding: name one as pad_token before you train")


@fixer(*PAD_RULES, safe=False)
def add_a_pad_token(
    files: Files,
    new_pad: Pad,
    rows: Rows,
    tensors: Tensors,
    config: Config,
    generation_config: JsonObject | None = None,
    tokenizer_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Add a new token to pad with, and its row where no spare one is there."""
    if new_pad.id > rows.number:
        raise CannotFix(
            f"the tokenizer has ids up to {new_pad.id - 1}, the embedding {rows.number} rows; add them first"
        )
    yield from added_token(new_pad, files, tokenizer_config)
    if new_pad.id == rows.number:
        yield from appended_rows(files, tensors, config)
    yield from pad_edits(new_pad, files, config, generation_config)


@fixer("bos-missing", safe=True)
def begin_every_text_with_bos(
    config: Config,
    special_tokens: SpecialTokens,
    tokenizer: Tokenizer,
    tokenizer_json: str,
    tokenizer_config: JsonObject | None = None,
) -> Iterator[Edit]:
    """Begin every text with BOS, as Gemma was trained."""
    family = str(config.where("model_type")[1])
    if not family.startswith("gemma"):
        raise CannotFix(
            f"a {family} may have been trained on without BOS; if it was not, take tokenizer.json from its base model"
        )
    bos = special_tokens.by_role["bos_token"].content
    number = tokenizer.id(bos)
    if number is None:
        raise CannotFix(f"{bos!r} is no token of tokenizer.json; take that file from the base model")
    yield SetJson("tokenizer.json", "/post_processor", prefixed(tokenizer_json, bos, number))
    if (tokenizer_config or {}).get("add_bos_token") is False:
        yield SetJson("tokenizer_config.json", "/add_bos_token", value=True)  # what llama.cpp's converter goes by
    yield Note(
        f"texts that are encoded now begin with {bos!r}; a chat template that writes none still sends none through "
        "apply_chat_template: let it begin with {{ bos_token }}"
    )
