"""SRV004 vllm-stop-ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.files import Files
from modelcheck.facts.rows import Rows
from modelcheck.facts.special_tokens import SpecialTokens, StopId, StopIds
from modelcheck.facts.vocabulary import Vocabulary, tokens_in
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

GENERATION = "generation_config.json"


@check("SRV004", severity=Severity.ERROR)
def vllm_stop_ids(
    files: Files,
    stop_ids: StopIds,
    special_tokens: SpecialTokens,
    target: Targets,
    vocabulary: Vocabulary | None = None,
    rows: Rows | None = None,
    conversations: Mapping[str, Rendering] | None = None,
) -> Iterator[Finding]:
    """The token that ends the assistant's turn is not one at which vLLM stops, or a stop id does not exist.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: vLLM stops at the tokenizer's EOS and at `eos_token_id` of generation_config.json; config.json counts only
    where there is no generation_config.json at all. A turn's end that is in neither costs every answer its whole
    length limit.

    Common causes:
        - generation_config.json was written without `eos_token_id`, and config.json alone names the turn's end.
          Solution: write the list into generation_config.json.
        - The template ends turns with another token than the tokenizer's EOS. Solution: append it to the list.

    Bad:
        ```json tokenizer_config.json
        {"eos_token": "<|reserved_0|>"}
        ```
        ```json config.json
        {"eos_token_id": [3, 4]}
        ```
        ```json generation_config.json
        {"eos_token_id": null}
        ```
    Good:
        ```json generation_config.json
        {"eos_token_id": [3, 4]}
        ```

    Traps: what no runtime stops at is told by `terminator-not-eos`, and here only where vLLM is named. An EOS behind
    the terminator is enough. Without a chat template only the ids are looked at.

    Fix safety: safe, the id is appended to the list in generation_config.json, with those of config.json where it named
    none. An id without a row is never removed: take it out by hand.

    Sources: vLLM 0.33 (v1/engine/input_processor.py, sampling_params.py `update_from_generation_config`,
    transformers_utils/config.py `try_get_generation_config`); vllm PR #4182; unsloth#5386.
    """
    yield from _beyond(stop_ids, rows, target)
    severity = target.severity("vllm", unnamed=Severity.WARNING)
    if severity is None or vocabulary is None:
        return
    names = {token.content for _, token in special_tokens} | {*vocabulary.added}
    heard = [*stop_ids.tokenizer, *(stop_ids.generation if GENERATION in files else stop_ids.config)]
    for rendering in (conversations or {}).values():
        for view in rendering.views():
            tokens = tokens_in(view.after_assistant or "", names)
            ids = {token: vocabulary.id(token) for token in tokens}
            if not tokens or {stop.id for stop in heard} & {*ids.values()}:
                continue
            if None in ids.values() and not vocabulary.complete:
                continue
            if "vllm" in target or stop_ids.in_force.keys() & {*ids.values()}:
                file, at = (GENERATION, "/eos_token_id") if GENERATION in files else ("config.json", "/eos_token_id")
                yield Finding(
                    f"vLLM stops at {_listed(heard)}, expected {tokens[0]!r} (id {ids[tokens[0]]}) among them, with "
                    f"which {rendering.subject}{view.under} ends an assistant turn: answers run to their length limit",
                    file,
                    at,
                    severity,
                )
                return


def _beyond(stop_ids: StopIds, rows: Rows | None, target: Targets) -> Iterator[Finding]:
    severity = target.severity("vllm", "transformers", unnamed=Severity.WARNING)
    for stop in (*stop_ids.generation, *stop_ids.config):
        if rows and severity and not 0 <= stop.id < rows.number:
            yield Finding(
                f"eos_token_id holds {stop.id}, expected ids from 0 to {rows.number - 1} ({rows.said_by}): the model "
                "cannot write that token, and no runtime says so",
                stop.file,
                stop.at,
                severity,
            )


def _listed(stops: list[StopId]) -> str:
    return ", ".join(f"{stop.id} ({stop.file})" for stop in stops) or "no id at all"
