"""TOK006 pad-out-of-range."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config, token_ids
from modelcheck.facts.files import JsonObject
from modelcheck.facts.rows import Rows
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.vocabulary import Vocabulary
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

PAD = "pad_token_id"


@check("TOK006", severity=Severity.ERROR)
def pad_out_of_range(
    rows: Rows,
    special_tokens: SpecialTokens,
    target: Targets,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
    vocabulary: Vocabulary | None = None,
) -> Iterator[Finding]:
    """The pad id has no row in the embedding.

    Symptoms: loading or serving fails

    Why: the first padded batch looks up a row that is not there: a device-side assert on a GPU, far from its cause, or
    a read of foreign memory.

    Common causes:
        - A pad token was added to the tokenizer and the embedding not resized. Solution: use a reserved token that has
          a row, or resize.
        - `pad_token_id: -1`, from configs of the first Llama. Solution: drop it and name a reserved token.

    Bad:
        ```json config.json
        {"pad_token_id": 320}
        ```
    Good:
        ```json config.json
        {"pad_token_id": 4}
        ```

    Traps: -1 was Llama 1's way of saying "none", and loads: a warning, but an error for llama.cpp, whose converter
    refuses a negative id. Speech models have two vocabularies; the larger one counts.

    Fix safety: safe, the id becomes that of the tokenizer's own pad token, else of a reserved token as for
    `pad-is-eos`; where there is none and no tokenizer file names one, the id is dropped. With `--unsafe` a new token is
    added.

    Sources: unsloth_zoo/pad_token.py; llama.cpp (gguf-py/gguf/vocab.py); MiniGPT-4#339.
    """
    for number, file, at in dict.fromkeys(_named(special_tokens, config, generation_config, vocabulary)):
        if 0 <= number < rows.number:
            continue
        legacy = number == -1 and "llama.cpp" not in target
        consequence = (
            "padding with it reads no row of the embedding" if number < 0 else "the first padded batch crashes"
        )
        yield Finding(
            f"the pad id is {number}, expected one from 0 to {rows.number - 1} ({rows.said_by}): {consequence}",
            file,
            at,
            Severity.WARNING if legacy else Severity.ERROR,
        )


def _named(
    special_tokens: SpecialTokens,
    config: Config | None,
    generation_config: JsonObject | None,
    vocabulary: Vocabulary | None,
) -> Iterator[tuple[int, str, str]]:
    pad = special_tokens.by_role.get("pad_token")
    if pad and vocabulary and (number := vocabulary.id(pad.content)) is not None:
        yield number, pad.file, pad.at
    if config is not None:
        for at, part in {"": config.root, config.text_at: config.text}.items():
            yield from ((n, config.file, f"{at}/{PAD}") for n in token_ids(config.file, part, PAD, at))
    file = "generation_config.json"
    yield from ((number, file, f"/{PAD}") for number in token_ids(file, generation_config or {}, PAD))
