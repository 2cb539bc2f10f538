"""CFG001 eos-disagrees."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.special_tokens import SpecialTokens, StopIds
from modelcheck.finding import Finding, Severity


@check("CFG001", severity=Severity.ERROR)
def eos_disagrees(stop_ids: StopIds, special_tokens: SpecialTokens, is_chat: bool) -> Iterator[Finding]:
    """The files name different tokens as the end of a turn.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: transformers and vLLM stop at the ids of generation_config.json (of config.json where it names none), trainers
    teach the model to write the tokenizer's EOS. If that is not among the stop ids the tuned model writes its EOS and
    goes on, or an engine that reads another file stops elsewhere.

    Common causes:
        - A merge or a save wrote config.json or generation_config.json anew. Solution: append the tokenizer's EOS to
          the list in generation_config.json; never remove one.
        - The tokenizer's EOS was changed for training. Solution: the same.

    Bad:
        ```json generation_config.json
        {"eos_token_id": 4}
        ```
        ```json config.json
        {"eos_token_id": 4}
        ```
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|reserved_0|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```
    Good:
        ```json generation_config.json
        {"eos_token_id": [4, 3]}
        ```

    Traps: a list that holds more than the others do is fine (Llama 3.1, Gemma, Phi-3). Null is no statement. A base
    checkpoint may carry the EOS of its chat sibling in the tokenizer, so only a chat model is judged by it.

    Fix safety: safe, ids are appended to the list in generation_config.json and none is removed. An id of config.json
    that is an ordinary token is not appended. A missing generation_config.json is written with what config.json had
    said.

    Sources: unsloth#5386 (a merge reset Gemma's list), Qwen3#927, LLaMA-Factory#9189, vLLM PR #4182.
    """
    generation, config = [s.id for s in stop_ids.generation], [s.id for s in stop_ids.config]
    listed = stop_ids.generation or stop_ids.config
    unheard = [s.id for s in stop_ids.tokenizer if is_chat and listed and s.id not in {stop.id for stop in listed}]
    if unheard:
        message = (
            f"eos_token_id is {_plain([s.id for s in listed])}, expected it to hold {unheard[0]}, the tokenizer's "
            f"eos_token {special_tokens.content('eos_token')!r}: a model trained to end its turns with that token "
            "does not stop there"
        )
        yield Finding(message, listed[0].file, listed[0].at)
    elif generation and config and not set(generation) & set(config):
        message = (
            f"eos_token_id is {_plain(config)} in config.json and {_plain(generation)} here, expected one in common: "
            "runtimes that read the one stop where those that read the other do not"
        )
        yield Finding(message, "generation_config.json", "/eos_token_id")


def _plain(ids: list[int]) -> str:
    return str(ids[0] if len(ids) == 1 else ids)
