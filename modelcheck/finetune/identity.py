"""What was really loaded, said in hashes: by the trainer, by the engine, and compared between them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

BLOCK = 1 << 22
# Weights that are copied and hashed at a time.
PIECE = 1 << 20


# What a model is made of, beside its weights.
MADE_OF = (".json", ".jinja", ".model", ".txt")


def file_hashes(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of the safetensors files of a folder; empty where there are none."""
    return {path.name: _hash_file(path) for path in sorted(folder.glob("*.safetensors"))}


def content(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of everything in a folder that makes the model: weights, configs, tokenizer, template."""
    parts = [path for path in sorted(folder.glob("*")) if path.suffix in MADE_OF and path.is_file()]
    return file_hashes(folder) | {path.name: _hash_file(path) for path in parts}


def _hash_file(path: Path) -> str:
    stat = path.stat()
    return _hash_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=1024)
def _hash_of(path: Path, *_: int) -> str:
    """Read again only where size, time or inode tell of a change."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(model: Any) -> str:
    """A hash of every weight as it lies in memory, in whichever precision it does.

    Of whatever the loader was told, these are the weights that compute. Two loads of one checkpoint in one dtype agree.
    A core does 0.35 billion weights a second.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tensors = sorted(model.named_parameters())
        parts = pool.map(lambda pair: _tensor_digest(pair[1]), tensors)
        together = [(name, list(tensor.shape), part) for (name, tensor), part in zip(tensors, parts, strict=True)]
    return _hash_json(together)


def _tensor_digest(tensor: Any) -> str:
    """The hash of the numbers: one of bfloat16 is that of the same numbers as float32."""
    import torch

    digest = hashlib.sha256()
    for piece in tensor.detach().reshape(-1).split(PIECE):
        digest.update(piece.to("cpu", torch.float32).numpy())
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """A hash of how a tokenizer cuts texts: its vocabulary, merges and added tokens, without padding and truncation."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _hash_json(sorted(tokenizer.get_vocab().items()))
    document = json.loads(backend.to_str())
    return _hash_json({name: part for name, part in document.items() if name not in ("padding", "truncation")})


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stop_ids(tokenizer: Any, model: Any) -> list[int]:
    """The ids at which transformers and vLLM stop by themselves: the tokenizer's EOS and those of the configs."""
    named = getattr(model.generation_config, "eos_token_id", None) or getattr(model.config, "eos_token_id", None)
    found = {tokenizer.eos_token_id, *(named if isinstance(named, (list, tuple)) else [named])}
    return sorted(i for i in found if i is not None)


def identity(model: Any, tokenizer: Any) -> dict[str, Any]:
    """What was loaded: hashes of weights, tokenizer and template, special ids, padding side, dtype, class, folder."""
    return identity_of_files(Path(str(getattr(model.config, "_name_or_path", ""))), tokenizer) | {
        "weights": weights_digest(model),
        "stop_ids": stop_ids(tokenizer, model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "class": type(model).__name__,
        "quantized": getattr(model.config, "quantization_config", None) is not None,
    }


def identity_of_files(folder: Path, tokenizer: Any) -> dict[str, Any]:
    """What a loader was given that does not show its weights (`weights` is None): the files stand for them."""
    template = tokenizer.chat_template
    return {
        "folder": str(folder),
        "files": file_hashes(folder) if folder.is_dir() else {},
        "weights": None,
        "tokenizer": tokenizer_digest(tokenizer),
        "template": _hash_json(template) if template else None,
        "special_ids": {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "unk")},
        "padding_side": tokenizer.padding_side,
    }


# What must agree between the base that was evaluated and the base that is trained: not where it lay.
MUST_AGREE = ("weights", "tokenizer", "special_ids")


def differences(evaluated: Mapping[str, Any], trained: Mapping[str, Any]) -> list[str]:
    """In what two bases differ that should be one, in words."""
    names = MUST_AGREE if _weights_compare(evaluated, trained) else MUST_AGREE[1:]
    found = [
        f"{name}: evaluated {_short(evaluated[name])}, trained {_short(trained[name])}"
        for name in names
        if evaluated[name] != trained[name]
    ]
    if evaluated["files"] and trained["files"] and evaluated["files"] != trained["files"]:
        found.append(f"weight files: evaluated {evaluated['folder']}, trained {trained['folder']}")
    return found


def unchecked(evaluated: Mapping[str, Any], trained: Mapping[str, Any]) -> str | None:
    """What could not be compared of two bases without a difference, in words."""
    if _weights_compare(evaluated, trained):
        return None
    if evaluated["files"] and trained["files"]:
        return "the weights of the two bases were compared as files, not as they lie in memory"
    return "the weights of the two bases could not be compared: name a folder as base"


def _weights_compare(evaluated: Mapping[str, Any], trained: Mapping[str, Any]) -> bool:
    """Weights in two precisions are two numbers each, and not every engine shows its own."""
    return None not in (evaluated["weights"], trained["weights"]) and evaluated["dtype"] == trained["dtype"]


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)
