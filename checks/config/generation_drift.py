"""CFG010 generation-drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.check import check
from modelcheck.facts.config import Config, token_ids
from modelcheck.facts.files import Files, JsonObject, shorten
from modelcheck.facts.special_tokens import StopIds
from modelcheck.finding import Finding, Severity

FILE = "generation_config.json"
# What decides the next token, and how many there are, with the value that transformers takes where none is written.
DEFAULTS: Mapping[str, Any] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "length_penalty": 1.0,
    "max_new_tokens": None,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
}


@check("CFG010", severity=Severity.WARNING)
def generation_drift(
    files: Files,
    config: Config,
    base_config: Config,
    stop_ids: StopIds,
    generation_config: JsonObject | None = None,
    base_generation_config: JsonObject | None = None,
) -> Iterator[Finding]:
    """The checkpoint asks for other sampling than its base, or stops at fewer tokens.

    Symptoms: the model does not stop, or stops in the wrong place; answers are garbage, or worse than they should be

    Why: transformers and vLLM take what a request does not say from generation_config.json: temperature, penalties, the
    tokens at which to stop. An evaluation pins these and does not see a change; whoever serves the model does.

    Common causes:
        - A trainer or a merge wrote the file anew, or not at all. Solution: copy the base's generation_config.json.
        - Settings tried out in a notebook were saved with the model. Solution: the same.

    Bad:
        ```json generation_config.json
        {"do_sample": true, "temperature": 1.5, "repetition_penalty": 1.3}
        ```
        ```json base/generation_config.json
        {}
        ```
    Good:
        ```json generation_config.json
        {"do_sample": false, "temperature": 1.0, "top_k": 50, "bos_token_id": 1, "eos_token_id": [3, 4]}
        ```
        ```json base/generation_config.json
        {}
        ```

    Traps: asked only where the base is named with `--base`. Token ids that a save fills in, and stop ids that were
    added, are expected; so is a value that is written out here and the default there, and settings of sampling that
    moved here from the base's config.json. Whoever publishes a chat model of a plain one sets its sampling:
    information, and a warning where a job saved it.

    Sources: vLLM 0.33 (config/model.py, `get_diff_sampling_param`); transformers 5.23
    (generation/configuration_utils.py, `_get_default_generation_params`); 21 published files read and saved again by
    it, of which none may be told.
    """
    if generation_config is None and base_generation_config is not None and "config.json" in files:
        yield Finding(
            f"{FILE} is not there, the base has it: transformers and vLLM take from it how to sample and where to stop",
            FILE,
        )
        return
    for key, default in DEFAULTS.items():
        own, base = (
            _value(key, *side, default)
            for side in ((generation_config, config.root), (base_generation_config, base_config.root))
        )
        if own != base:
            message = (
                f"{key} is {shorten(own)}, expected {shorten(base)} as in the base: servers sample by it where a "
                "request does not say otherwise, and an evaluation that pins its own did not see it"
            )
            yield Finding(message, FILE, f"/{key}", Severity.INFO)
    stops = token_ids(FILE, base_generation_config or {}, "eos_token_id")
    if gone := [i for i in stops if i not in stop_ids.in_force]:
        message = (
            f"eos_token_id is {sorted(stop_ids.in_force)}, the base stops at {gone} too: an answer that ends with "
            "that goes on"
        )
        yield Finding(message, FILE, "/eos_token_id")


def _value(key: str, generation: JsonObject | None, config: JsonObject, default: Any) -> Any:
    """What is in force; older versions kept it in config.json."""
    for place in (generation or {}, config):
        if place.get(key) is not None:
            return place[key]
    return default
