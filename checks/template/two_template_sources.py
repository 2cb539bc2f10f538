"""TPL008 two-template-sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.check import check
from modelcheck.facts.files import Files, JsonObject
from modelcheck.finding import Finding, Severity
from modelcheck.names import JINJA
from modelcheck.target import Targets

READ_JINJA, READ_JSON = ("transformers", "vllm", "trl"), ("llama.cpp", "ollama", "tgi")


@check("TPL008", severity=Severity.ERROR)
def two_template_sources(files: Files, tokenizer_config: JsonObject, target: Targets) -> Iterator[Finding]:
    """Two files hold a chat template and they differ.

    Symptoms: training and serving see different text

    Why: transformers and vLLM take chat_template.jinja, llama.cpp's converter, Ollama and TGI take the one in
    tokenizer_config.json. The model is trained with one prompt and served with another.

    Common causes:
        - The template was edited in one file. Solution: write the one that is meant into both.
        - A tokenizer was saved by a newer transformers into a folder that an older one had written. Solution: the same.

    Bad:
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content | trim }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```
        ```json tokenizer_config.json
        {"chat_template": "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"}
        ```
    Good:
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content | trim }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```

    Traps: two copies that are equal but for blank space at their ends are healthy. Where only runtimes are named that
    read the same file, the other is merely left over: a warning. Named templates are compared by their names.

    Fix safety: safe, tokenizer_config.json gets the text of chat_template.jinja, named templates that of
    additional_chat_templates/. What transformers and vLLM render stays; remove chat_template.jinja if the other one is
    meant. Not where only runtimes are named that read tokenizer_config.json.

    Sources: transformers PR #45851; llama.cpp (gguf-py/gguf/vocab.py); TGI#3247.
    """
    if JINJA not in files:
        return
    in_file, in_json = files.text(JINJA).strip(), _default(tokenizer_config)
    if in_json is None or in_json.strip() == in_file:
        return
    split = not target or (target.includes(*READ_JINJA) and target.includes(*READ_JSON))
    yield Finding(
        f"the template here ({_size(in_file)}) is not that of tokenizer_config.json ({_size(in_json.strip())}), "
        "expected one template: transformers and vLLM take this one, llama.cpp, Ollama and TGI the other, so that "
        "prompts differ between training and serving",
        JINJA,
        None,
        Severity.ERROR if split else Severity.WARNING,
    )


def _default(tokenizer_config: Mapping[str, Any]) -> str | None:
    value = tokenizer_config.get("chat_template")
    if isinstance(value, list):
        named = [item for item in value if isinstance(item, dict) and item.get("name") == "default"]
        value = named[0].get("template") if named else None
    elif isinstance(value, dict):
        value = value.get("default")
    return value if isinstance(value, str) else None


def _size(text: str) -> str:
    return f"{len(text)} characters"
