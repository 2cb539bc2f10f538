"""Where a checkpoint says what it pads with."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.edit import Edit, Note, SetJson
from modelcheck.facts.config import Config
from modelcheck.facts.files import Files, JsonObject
from modelcheck.facts.padding import Pad

PAD, PAD_ID = "/pad_token", "pad_token_id"
GENERATION = "generation_config.json"
NAMED_IN = ("tokenizer_config.json", "special_tokens_map.json")


def pad_edits(pad: Pad, files: Files, config: Config | None, generation_config: JsonObject | None) -> Iterator[Edit]:
    """The token in the tokenizer's files, its id in the configs."""
    yield from (SetJson(name, PAD, pad.content) for name in NAMED_IN if name in files)
    yield from _id_edits(pad.id, config, generation_config)
    yield Note(f"pad_token is {pad.content!r} (id {pad.id}): {pad.why}")


def no_pad_edits(config: Config | None, generation_config: JsonObject | None) -> Iterator[Edit]:
    """No pad id in the configs that name one."""
    yield from _id_edits(None, config, generation_config)


def _id_edits(number: int | None, config: Config | None, generation_config: JsonObject | None) -> Iterator[Edit]:
    if config:
        places = [at for at, part in (("", config.root), (config.text_at, config.text)) if PAD_ID in part]
        # A model whose text part keeps its own ids reads them there; any other reads the root.
        yield from (SetJson(config.file, f"{at}/{PAD_ID}", number) for at in dict.fromkeys(places or [""]))
    if PAD_ID in (generation_config or {}):
        yield SetJson(GENERATION, f"/{PAD_ID}", number)
