"""For authors of rules: the healthy tiny checkpoint, overlays on it, and the tests that every pack should run.

from modelcheck.testing import lint_overlay
assert not lint_overlay({"config.json": '{"use_cache": true}'}).errors
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import modelcheck
from modelcheck import packs, tiny
from modelcheck.report import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS, ADAPTER, TOKENIZER = "model.safetensors", "adapter_tensors.json", "tokenizer_config.json"
BASE, DATA, RENAMED = "base/", "data", "renamed.json"
ROWS = ("train.jsonl", "eval.jsonl")
NO_FILES = ("tensors.json", ADAPTER, RENAMED, "target", "grammar", *ROWS)


def write_overlay(folder: Path, overlay: Mapping[str, str]) -> Path:
    """Write the healthy tiny checkpoint with an overlay over it, and return the folder.

    A JSON file is merge-patched (RFC 7386), any other is replaced, and the text `null` deletes a file. `tensors.json`
    changes weights: {name: null} drops one, {name: [dtype, shape, fill]} replaces one (fill: zeros, ones, nan, normal),
    {name: {"4": fill, "7": 9}} changes rows (row 7 becomes a copy of row 9). `adapter_tensors.json` holds what
    adapter_model.safetensors is to hold, {name: [dtype, shape, fill]}. `renamed.json` gives files other names,
    {old: new}. A chat_template.jinja takes the place of the template in tokenizer_config.json, unless the overlay names
    one there too. `target` is no file but the runtimes that `lint_overlay` lints for, as for `--target`; nor is
    `grammar`, which is what `--grammar` would name. Names that begin with `base/` are an overlay of the base, which is
    then written into the folder `base` inside. `train.jsonl` and `eval.jsonl` are laid over the rows of a healthy data
    set, line by line (`null` takes a row out, further lines are added), in the folder `data` inside.
    """
    if of_base := {name.removeprefix(BASE): text for name, text in overlay.items() if name.startswith(BASE)}:
        write_overlay(folder / BASE, of_base)
        overlay = {name: text for name, text in overlay.items() if not name.startswith(BASE)}
    files = dict(tiny.files())
    if "tensors.json" in overlay:
        files[WEIGHTS] = _weights(json.loads(overlay["tensors.json"]), tiny.tensors())
    if ADAPTER in overlay:
        files["adapter_model.safetensors"] = _weights(json.loads(overlay[ADAPTER]), {})
    if "chat_template.jinja" in overlay:
        files[TOKENIZER] = _patched(files[TOKENIZER], '{"chat_template": null}')
    for name, text in overlay.items():
        if text.strip() == "null":
            files.pop(name, None)
        elif name not in NO_FILES:
            files[name] = _patched(files.get(name, b""), text)
    for old, new in json.loads(overlay.get(RENAMED, "{}")).items():
        files[new] = files.pop(old)
    if any(name in overlay for name in ROWS):
        files |= {f"{DATA}/{name}": _rows(tiny.rows(name), overlay.get(name, "")) for name in ROWS}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def lint_overlay(overlay: Mapping[str, str], **options: Any) -> Report:
    """Lint the healthy tiny checkpoint under an overlay, with all rules on."""
    with tempfile.TemporaryDirectory() as folder:
        return modelcheck.lint(write_overlay(Path(folder), overlay), **options_of(Path(folder), overlay) | options)


def options_of(folder: Path, overlay: Mapping[str, str]) -> dict[str, Any]:
    """The options of lint that an overlay in that folder stands for: its runtimes, its grammar, its base, its data."""
    options: dict[str, Any] = {"target": overlay["target"].split()} if "target" in overlay else {}
    options |= {"grammar": overlay["grammar"]} if "grammar" in overlay else {}
    if any(name in overlay for name in ROWS):
        options["data"] = str(folder / DATA)
    return options | ({"base": str(folder / BASE)} if any(name.startswith(BASE) for name in overlay) else {})


def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged key by key, null deletes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def type_mismatches() -> list[str]:
    """Parameters of checks and facts whose annotation is not what the fact of that name returns."""
    catalogue = packs.load()
    returns = {name: get_type_hints(f)["return"] for name, f in catalogue.facts.items()}
    wrong = []
    for function in [*(c.function for c in catalogue.checks), *catalogue.facts.values()]:
        for name, hint in get_type_hints(function).items():
            if name in returns and hint not in (returns[name], returns[name] | None):
                wrong.append(f"{packs.place(function)}: {name} is annotated {hint}, the fact is {returns[name]}")
    return wrong


def _patched(content: bytes, text: str) -> bytes:
    try:
        document, patch = json.loads(content), json.loads(text)
    except ValueError:  # a new file, or one that is no JSON before or after
        return text.encode()
    return json.dumps(merge_patch(document, patch), indent=2).encode()


def _rows(rows: Sequence[Mapping[str, Any]], text: str) -> bytes:
    lines = text.splitlines()
    lines += map(json.dumps, rows[len(lines) :])
    return "".join(f"{line}\n" for line in lines if line != "null").encode()


def _weights(changes: Mapping[str, Any], healthy: Mapping[str, NDArray[np.float32]]) -> bytes:
    tensors = {name: values.copy() for name, values in healthy.items()}
    dtypes = {}
    for name, change in changes.items():
        if change is None:
            del tensors[name]
        elif isinstance(change, list):
            dtypes[name], shape, fill = change
            tensors[name] = _filled(shape, fill)
        else:
            for row, fill in change.items():
                source = tensors[name]
                source[int(row)] = source[fill] if isinstance(fill, int) else _filled(source.shape[1:], fill)
    return tiny.safetensors(tensors, dtypes)


def _filled(shape: Sequence[int], fill: str) -> NDArray[np.float32]:
    import numpy as np

    if fill == "normal":
        return np.random.default_rng(7).normal(0, 0.05, shape).astype(np.float32)
    return np.full(shape, {"zeros": 0.0, "ones": 1.0, "nan": np.nan}[fill], np.float32)
