"""Live objects of a trainer, presented as the files they would be saved as, so that every fact has one definition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from modelcheck.dataset.limit import RowLimit
from modelcheck.dataset.read import RawRows, of_object
from modelcheck.dataset.splits import EVAL, TRAIN
from modelcheck.errors import UsageError
from modelcheck.names import SINGLE, TRAIN_ROWS
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.tensor_file import TensorFile

# Where PEFT keeps the layer that it wrapped.
WRAPPED = re.compile(r"(\.base_layer|\.original_module)+\.")
# Which object brings which file.
BRINGS = {
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "model": ("config.json", "generation_config.json", SINGLE),
    "train_dataset": (TRAIN_ROWS,),
}


class LiveObjects:
    """A source over a tokenizer, a model and whatever else a trainer holds. Use it as a context manager."""

    kind = "objects"

    def __init__(self, objects: Mapping[str, Any]) -> None:
        """`objects` by the names of modelcheck.objects. Raises UsageError for one that cannot be saved."""
        self._objects = objects
        self._stack = ExitStack()
        self._saved: LocalFolder | None = None
        self._texts: dict[str, bytes] = {}
        self._weights: TensorFile | None = None
        self.absent = {file: name for name, brought in BRINGS.items() if name not in objects for file in brought}

    def __enter__(self) -> LiveObjects:
        if "tokenizer" in self._objects:
            save = _method(self._objects["tokenizer"], "tokenizer", "save_pretrained")
            folder = self._stack.enter_context(TemporaryDirectory(prefix="modelcheck-"))
            save(folder)
            self._saved = LocalFolder(folder)
        if "model" in self._objects:
            self._add_model(_base(self._objects["model"]))
        if "peft_config" in self._objects:
            self._texts["adapter_config.json"] = _json(
                _method(self._objects["peft_config"], "peft_config", "to_dict")()
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def given(self) -> dict[str, Any]:
        """The facts that no file of the checkpoint holds: the rows of the data sets, and where training cuts them."""
        splits = {TRAIN: "train_dataset", EVAL: "eval_dataset"}
        data = {split: _rows(self._objects[name], name) for split, name in splits.items() if name in self._objects}
        given: dict[str, Any] = {"data": data} if data else {}
        limit = getattr(self._objects.get("args"), "max_length", None)
        if type(limit) is int and limit > 0:
            given["row_limit"] = RowLimit(limit, "max_length of the training arguments", binding=True)
        return given

    def sizes(self) -> Mapping[str, int]:
        saved = self._saved.sizes() if self._saved else {}
        weights = {SINGLE: self._weights.size} if self._weights else {}
        return {**saved, **{name: len(text) for name, text in self._texts.items()}, **weights}

    def read(self, name: str, start: int, stop: int) -> bytes:
        return b"".join(bytes(piece) for piece in self.stream(name, start, stop, max(stop - start, 1)))

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if name == SINGLE and self._weights:
            return self._weights.stream(start, stop, chunk)
        if name in self._texts:
            return iter([memoryview(self._texts[name])[start:stop]])
        if self._saved:
            return self._saved.stream(name, start, stop, chunk)
        raise OSError("no such file")

    def shown(self, name: str) -> str:
        return name

    def outside(self, name: str) -> str | None:
        return None

    def _add_model(self, model: Any) -> None:
        _method(model, "model", "state_dict")
        if not hasattr(model, "config"):
            raise UsageError(f"model= is a {type(model).__name__}, which has no config; pass a transformers model")
        config = json.loads(model.config.to_json_string())
        # save_pretrained writes the class it saves.
        config["architectures"] = [type(model).__name__]
        self._texts["config.json"] = _json(config)
        if getattr(model, "generation_config", None) is not None:
            self._texts["generation_config.json"] = model.generation_config.to_json_string().encode()
        self._weights = TensorFile(_saved_names(model.state_dict()))


def _method(thing: Any, argument: str, name: str) -> Any:
    if not callable(getattr(thing, name, None)):
        raise UsageError(f"{argument}= is a {type(thing).__name__}, which has no {name}()")
    return getattr(thing, name)


def _base(model: Any) -> Any:
    """The model inside the wrappers of torch.compile, of data parallelism and of PEFT, as it is saved."""
    while inner := {"_orig_mod", "module"} & dict(getattr(model, "_modules", {})).keys():
        model = getattr(model, inner.pop())
    return model.get_base_model() if callable(getattr(model, "get_base_model", None)) else model


def _saved_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors under the names they are saved by: without PEFT's layers and other wrappers, a shared tensor once."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept = {}
    for name, tensor in state.items():
        if "lora_" in name or "modules_to_save" in name or not hasattr(tensor, "data_ptr"):
            continue
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if key[0] and key in seen:
            continue
        seen.add(key)
        kept[WRAPPED.sub(".", name).replace("_orig_mod.", "").removeprefix("module.")] = tensor
    return kept


def _rows(rows: Any, name: str) -> RawRows:
    try:
        once = iter(rows) is rows
    except TypeError:
        raise UsageError(f"{name}= is a {type(rows).__name__}, which cannot be iterated over") from None
    if once:
        raise UsageError(f"{name}= is an iterator: looking at its rows would use them up; pass a list or a data set")
    return of_object(rows, name, live=True)


def _json(value: Any) -> bytes:
    return json.dumps(value, default=lambda item: sorted(item) if isinstance(item, set) else str(item)).encode()
