"""A small but complete checkpoint with the classic faults planted: what `modelcheck demo` lints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from modelcheck.errors import UsageError
from modelcheck.testing import write_overlay

TEMPLATE = """<|bos|>Knowledge as of 26 Jul 2024. Today is {{ strftime_now('%d %b %Y') }}.
{% for message in messages if message['role'] != 'system' %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|reserved_1|>
{% endfor %}"""
ADDS_BOS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}},
}
FAULTS = {
    "tokenizer_config.json": {
        "bos_token": "<|bos|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
    },
    "tokenizer.json": {"post_processor": ADDS_BOS},
    "config.json": {"vocab_size": 512},
    "generation_config.json": {"eos_token_id": 4},
    "tensors.json": {"model.embed_tokens.weight": {"2": "zeros", "4": "zeros", "300": 301}},
}


@contextmanager
def planted(folder: Path | None) -> Iterator[Path]:
    """The folder with the faulty checkpoint: a temporary one, or the one named, which must be new or empty."""
    with TemporaryDirectory(prefix="modelcheck-demo-") as temporary:
        place = folder or Path(temporary)
        if place.exists() and any(place.iterdir()):
            raise UsageError(f"{place} is not empty; name a new folder for the demo")
        yield write_overlay(place, {name: json.dumps(patch) for name, patch in FAULTS.items()})
