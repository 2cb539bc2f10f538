"""How a job was set up, and what its stages loaded, as its report lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.finetune.job_record import JobRecord
from modelcheck.finetune.resolved import OF_THE_FILE

# Hex digits of a hash that tell two models apart.
HASH, DIGITS = 64, 12
# Of an identity: where a model lay on one machine, and the hash of each of its files.
NOT_SHOWN = ("event", "folder", "files")
AT_A_GLANCE = {
    "base": "Base", "revision": "Revision", "dtype": "dtype", "train.method": "Method", "train.lora.r": "LoRA rank",
    "train.lora.alpha": "LoRA alpha", "train.lr": "Learning rate", "train.epochs": "Epochs",
    "train.max_steps": "Steps at most", "train.batch": "Batch", "train.grad_accum": "Gradient accumulation",
    "train.seeds": "Seeds", "eval.backend": "Engine", "eval.gen.temperature": "Temperature",
    "eval.gen.max_tokens": "Tokens of an answer at most",
}  # fmt: skip


def glance(record: JobRecord) -> Iterator[tuple[str, str]]:
    """(name, value) of what a reader asks for first."""
    flat = dict(_flat(record.settings, ""))
    for key, name in AT_A_GLANCE.items():
        if (value := flat.get(key)) is not None:
            yield name, _value(value, record.folder)


def settings(record: JobRecord) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(table, its keys and values) of the resolved job; what is not set is left out."""
    parts = {key: value for key, value in record.settings.items() if key not in OF_THE_FILE}
    suites = {f"suite {suite['name']}": suite for suite in parts.pop("suites", [])}
    tables = {key: parts.pop(key) for key, value in list(parts.items()) if isinstance(value, Mapping)}
    for name, table in {"job": parts, **tables, **suites}.items():
        pairs = [(key, _value(value, record.folder)) for key, value in _flat(table, "") if value not in (None, {})]
        if pairs:
            yield name, pairs


def environment(record: JobRecord) -> Iterator[tuple[str, str]]:
    """(name, value) of where the job ran; every package of its interpreters is in env.json alone."""
    for name, value in record.environment.items():
        if value is not None and not isinstance(value, Mapping):
            yield name, _text(value)
    for stage, machine in record.environment.get("machines", {}).items():
        if machine.get("gpus"):
            yield f"GPUs of {stage}", _text(machine["gpus"])


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _value(value: Any, folder: str) -> str:
    text = _text(value)
    return text.replace(f"{folder}/", "") if folder else text


def loaded(record: JobRecord) -> list[tuple[str, list[str]]]:
    """(what, its value for each model that was loaded)."""
    every = record.loaded.values()
    names = dict.fromkeys(name for identity in every for name in identity if name not in NOT_SHOWN)
    return [(name, [_short(identity.get(name)) for identity in every]) for name in names]


def _short(value: Any) -> str:
    text = _text(value)
    return text[:DIGITS] if isinstance(value, str) and len(value) == HASH else text


def _text(value: Any) -> str:
    """A value as people write it: without the marks of JSON."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if value is None:
        return "none"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)
