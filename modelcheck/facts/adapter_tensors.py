"""The tensors of adapter_model.safetensors, taken apart into modules and their roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.fact import Missing, NotApplicable, fact

from .adapter_config import AdapterConfig
from .files import Files
from .tensors import Tensor, read_header

FILE, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
ROLE = re.compile(r"(?P<module>.+?)\.(?P<role>lora_(embedding_)?[AB])(?P<rest>\.default)?(\.weight)?")


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """{name: tensor} of the file, and the LoRA pairs in it: {module: {"lora_A": tensor, "lora_B": tensor}}.

    The roles of embeddings are `lora_embedding_A` and `lora_embedding_B`. `other` are the tensors of no pair.
    """

    tensors: Mapping[str, Tensor]
    pairs: Mapping[str, Mapping[str, Tensor]]
    other: Mapping[str, Tensor]
    file: str = FILE


@fact
def adapter_tensors(files: Files, adapter_config: AdapterConfig) -> AdapterTensors:  # noqa: ARG001 there is an adapter
    """The weights of a trained adapter, from the header alone."""
    if FILE not in files:
        files.refuse_unpassed(FILE)
        if PICKLE in files:
            raise Missing(f"the adapter's weights are a pickle ({PICKLE}), which is never opened")
        raise NotApplicable("the adapter has no weights yet")
    pairs: dict[str, dict[str, Tensor]] = {}
    other = {}
    tensors = read_header(files, FILE)
    for name, tensor in tensors.items():
        match = ROLE.fullmatch(name)
        if match:
            pairs.setdefault(match["module"].removeprefix(PREFIX), {})[match["role"]] = tensor
        else:
            other[name] = tensor
    return AdapterTensors(tensors, pairs, other)
