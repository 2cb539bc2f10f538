"""TOK005 double-bos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.dataset import Dataset
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity


@check("TOK005", severity=Severity.ERROR)
def double_bos(
    tokenizer: Tokenizer,
    conversations: Mapping[str, Rendering] | None = None,
    training_texts: tuple[str, ...] | None = None,
    dataset: Dataset | None = None,
) -> Iterator[Finding]:
    """The chat template writes a BOS and the tokenizer adds another.

    Symptoms: answers are garbage, or worse than they should be; training and serving see different text

    Why: a text that was rendered first and encoded afterwards begins with two BOS tokens, which the model never saw in
    training: its answers get worse, and nobody is told. `apply_chat_template(tokenize=True)` is right by itself;
    trainers fed with rendered text, evaluation harnesses and completion endpoints are not.

    Common causes:
        - Rows were rendered with `apply_chat_template(tokenize=False)` into a `text` column, and the trainer encodes
          that. Solution: hand it the `messages`, or encode with `add_special_tokens=False`.
        - An exported GGUF keeps the BOS in its template and `add_bos_token` true. Solution: strip one on export.

    Bad:
        ```json tokenizer_config.json
        {"bos_token": "<|bos|>"}
        ```
        ```json tokenizer.json
        {"post_processor": {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}}}}
        ```
        ```jinja chat_template.jinja
        {{- bos_token }}
        {%- for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```
        ```text target
        llama.cpp
        ```
    Good:
        ```json tokenizer_config.json
        {"bos_token": "<|bos|>"}
        ```
        ```jinja chat_template.jinja
        {{- bos_token }}
        {%- for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```

    Traps: Llama 3.1 and Gemma ship exactly this and are right through `apply_chat_template`: a warning, and an error
    only where the training texts themselves show it. `add_bos_token: true` proves nothing (DeepSeek-V3 adds none), so
    the rule encodes. A BOS that also opens every turn (SmolLM2's `<|im_start|>`) is not doubled.

    Fix safety: unsafe, and only where `--target` names llama.cpp or Ollama alone: the template stops writing the BOS
    that these runtimes add. In transformers the mended copy sends none through apply_chat_template, so write it with
    `--output` and keep the original for training. For any other target nothing in the files is wrong.

    Sources: trl#1400, OpenRLHF#393, open-r1 PR #462, llama.cpp PR #15086.
    """
    added = tokenizer.prefix
    if not added:
        return
    names = " ".join(repr(tokenizer.token(i)) for i in added)
    for text in training_texts or ():
        if _begins(tokenizer, text, added):
            message = (
                f"the training texts begin with {names} and encoding them adds {names} again, expected one: "
                "every row is trained behind two BOS tokens, which serving does not send"
            )
            yield Finding(message, dataset.train.file if dataset and dataset.train else None)
            return
    for rendering in (conversations or {}).values():
        if _begins(tokenizer, rendering.text("prompt") or "", added):
            message = (
                f"the template begins with {names} and encoding its text adds {names} again, expected one: "
                "rendered text that is encoded later starts with two, and answers get worse"
            )
            yield Finding(message, rendering.template.file, rendering.template.at, Severity.WARNING)


def _begins(tokenizer: Tokenizer, text: str, added: tuple[int, ...]) -> bool:
    return tuple(tokenizer.encode(text)[: len(added)]) == added
