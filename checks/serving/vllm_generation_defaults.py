"""SRV005 vllm-generation-defaults."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import JsonObject, shorten
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

FILE = "generation_config.json"
# vLLM 0.33 (config/model.py, `get_diff_sampling_param`), and what leaves a request as it is.
NEUTRAL = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip
SAMPLING = ("temperature", "top_p", "top_k", "min_p")
# Below these all but the first candidate is cut off: greedy in disguise, which the published ranges (.5 to 1) are not.
COLD, NARROW = 0.1, 0.1
# Answers of chat models are often longer than this many tokens.
SHORT = 4096
HARSH = 1.5


@check("SRV005", severity=Severity.WARNING)
def vllm_generation_defaults(generation_config: JsonObject, target: Targets) -> Iterator[Finding]:
    """Values in generation_config.json become the defaults of a vLLM server, for every request that does not set them.

    Symptoms: the model does not stop, or stops in the wrong place; answers are garbage, or worse than they should be

    Why: `max_new_tokens: 7` from an experiment cuts every answer after seven tokens, a temperature of 0.01 makes every
    answer the same, and an evaluation that sets neither measures these values instead of the model.

    Common causes:
        - The file was saved from a script that set values for its own use. Solution: remove them from the file, or
          serve with `--generation-config vllm`.

    Bad:
        ```json generation_config.json
        {"max_new_tokens": 7}
        ```
    Good:
        ```json generation_config.json
        {"max_new_tokens": null}
        ```

    Traps: publishers recommend a temperature and a top_p this way, which is meant: information, and only where vLLM is
    named. What cuts answers off or makes sampling greedy in disguise is a warning there, information where nobody is
    named.

    Fix safety: unsafe, the server's answers change.

    Sources: vLLM 0.33 (config/model.py, `get_diff_sampling_param`); vLLM PR #11164; measured with vLLM 0.32.
    """
    # Before 0.9 the file was read only where the server was told to.
    if target and not target.may_be("vllm", at_least=(0, 9)):
        return
    named = "vllm" in target
    severity = Severity.WARNING if named else Severity.INFO
    values = {key: value for key, value in generation_config.items() if type(value) in (int, float)}
    for key, consequence in _odd(values).items():
        yield Finding(
            f"{key} is {shorten(values[key])}, expected none: it becomes a vLLM server's default, and {consequence}",
            FILE,
            f"/{key}",
            severity,
        )
    set_here = [key for key in NEUTRAL if key in values and values[key] != NEUTRAL[key]]
    greedy = generation_config.get("do_sample") is False and values.get("temperature", 1.0) > COLD
    if named and greedy and (hot := [key for key in SAMPLING if key in set_here]):
        yield Finding(
            f"do_sample is false but {hot[0]} is {shorten(values[hot[0]])}, expected one of the two: vLLM does not "
            "read do_sample and samples, transformers is greedy",
            FILE,
            "/do_sample",
            severity,
        )
    ordinary = [f"{key}={shorten(values[key])}" for key in set_here if key not in _odd(values)]
    if named and ordinary:
        yield Finding(
            f"{', '.join(ordinary)}, expected every evaluation to set its own: vLLM takes these as its defaults",
            FILE,
            None,
            Severity.INFO,
        )


def _odd(values: JsonObject) -> dict[str, str]:
    odd = {}
    if values.get("max_new_tokens", SHORT) < SHORT:
        odd["max_new_tokens"] = "every answer is cut off there"
    if 0 < values.get("temperature", 1) < COLD:
        odd["temperature"] = "all answers are nearly the same"
    if 0 < values.get("top_p", 1) < NARROW:
        odd["top_p"] = "nearly always only the first candidate is left"
    if values.get("top_k", 0) == 1:
        odd["top_k"] = "only the first candidate is left"
    if values.get("repetition_penalty", 1) >= HARSH:
        odd["repetition_penalty"] = "answers avoid words they need"
    return odd
