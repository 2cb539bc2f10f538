"""The ids at which generation has to end, and does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from modelcheck.edit import AddToList, Edit, SetJson
from modelcheck.facts.config import Config
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.files import Files, shorten
from modelcheck.facts.special_tokens import SpecialTokens, StopIds
from modelcheck.facts.vocabulary import Vocabulary, tokens_in
from modelcheck.fixer import CannotFix

GENERATION, EOS = "generation_config.json", "/eos_token_id"
# What transformers takes from config.json as long as there is no generation_config.json (GenerationConfig).
GENERATES = (
    "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "suppress_tokens", "begin_suppress_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p",
    "num_beams", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length",
    "max_length", "max_new_tokens", "early_stopping", "num_return_sequences", "use_cache",
)  # fmt: skip


def terminators(
    conversations: Mapping[str, Rendering],
    special_tokens: SpecialTokens,
    vocabulary: Vocabulary,
    heard: Collection[int],
) -> Iterator[int]:
    """What the templates write first behind an assistant's turn, where generation ends at nothing that stands there.

    Raises CannotFix where that is no token.
    """
    names = {token.content for _, token in special_tokens} | {*vocabulary.added}
    for rendering in conversations.values():
        for view in rendering.views():
            tail, header = view.after_assistant or "", view.dangling_header
            tokens = tokens_in(tail, names)[: 1 if header else None]
            ids = [vocabulary.id(token) for token in tokens]
            if not tail.strip() or not {*ids}.isdisjoint(heard):
                continue
            if not ids or ids[0] is None or tokens[0] in header:
                raise CannotFix(
                    f"{rendering.subject}{view.under} ends an assistant turn with {shorten(tail)}, which is no token "
                    "of its own; give the runtime a stop text, or let the template end turns with the EOS"
                )
            yield ids[0]


def in_config_alone(stop_ids: StopIds, vocabulary: Vocabulary) -> list[int]:
    """The ids of config.json, where generation_config.json names others and none of them.

    Raises CannotFix for one that is an ordinary token: stopping there would cut answers short.
    """
    generation, config = {stop.id for stop in stop_ids.generation}, [stop.id for stop in stop_ids.config]
    if not generation or not generation.isdisjoint(config):
        return []
    if ordinary := [number for number in config if number not in vocabulary.added.values()]:
        raise CannotFix(
            f"eos_token_id {ordinary[0]} of config.json is an ordinary token, at which answers would be cut short; "
            "set it to that of generation_config.json"
        )
    return config


def appended(wanted: Collection[int], files: Files, stop_ids: StopIds, config: Config | None) -> Iterator[Edit]:
    """The ids at the end of the list in generation_config.json, which is made where there is none.

    What transformers reads from config.json only in that file's absence is written into it, so that it stays in force.
    """
    if config is None:
        ids = ", ".join(map(str, wanted))
        raise CannotFix(f"there is no config.json here: append {ids} to eos_token_id where the model's files are")
    if GENERATION not in files:
        for key in GENERATES:
            if (value := config.where(key)[1]) is not None:
                yield SetJson(GENERATION, f"/{key}", value)
    so_far = [] if stop_ids.generation else [stop.id for stop in stop_ids.config]
    for number in dict.fromkeys([*so_far, *wanted]):
        yield AddToList(GENERATION, EOS, number)
