"""WGT005 wrapper-prefix."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import some
from modelcheck.facts.tensor_names import Wrapped
from modelcheck.facts.tensors import Tensors
from modelcheck.finding import Finding, Severity

WHAT = {
    "lora": "LoRA matrices inside a full model: merge the adapter, or save it alone",
    "modules_to_save": "PEFT's copies of trained modules: merge the adapter before saving",
    "base_layer": "the frozen half of LoRA layers: merge the adapter before saving",
    "base_model.model.": "names of PEFT's wrapper: merge_and_unload, then save",
    "_orig_mod.": "names of torch.compile's wrapper: save the model that was compiled, not the compiled one",
    "module.": "names of a data-parallel wrapper: save model.module",
    "model.model.": "a prefix added twice: take one away",
}


@check("WGT005", severity=Severity.ERROR)
def wrapper_prefix(tensors: Tensors, wrapped: Wrapped) -> Iterator[Finding]:
    """Tensor names carry the prefix of a wrapper: PEFT, torch.compile or data parallelism.

    Symptoms: loading or serving fails

    Why: no loader knows such names. transformers warns that they are not used and starts from random weights; vLLM
    stops with `There is no module or parameter named 'base_model'`.

    Common causes:
        - The state dict of a PEFT model was saved as if it were the model. Solution: `model.merge_and_unload()` first.
        - `torch.save` or `save_file` of a compiled or DDP model's state dict. Solution: unwrap it
          (`accelerator.unwrap_model`) and use `save_pretrained`.

    Bad:
        ```json tensors.json
        {
          "model.layers.0.self_attn.q_proj.weight": null,
          "_orig_mod.model.layers.0.self_attn.q_proj.weight": ["BF16", [64, 64], "normal"]
        }
        ```
    Good:
        ```json tensors.json
        {"model.layers.0.self_attn.q_proj.weight": ["BF16", [64, 64], "normal"]}
        ```

    Traps: the files of an adapter carry these names by right. A model whose own architecture holds adapters says so in
    its config. `model.model.` is a fault only where the names of the class are known.

    Fix safety: unsafe: every tensor is renamed in the header of its file; no byte of it changes. Not where an adapter
    is inside: that has to be merged.

    Sources: vllm#12961, vllm#15031; measured on vLLM 0.32.
    """
    for kind, names in wrapped.names.items():
        yield Finding(
            f"{len(names)} tensor names hold {WHAT[kind].partition(':')[0]}: {some(names)}; expected the names of the "
            f"model itself ({WHAT[kind].partition(': ')[2]}): transformers ignores these tensors and starts from "
            "random ones, vLLM refuses the model",
            tensors[names[0]].file if names[0] in tensors else tensors.absent[names[0]],
            names[0],
        )
