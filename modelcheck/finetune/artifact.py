"""Is the saved model the trained one? Adapter, merged and reloaded model side by side, and what changed in the weights.

`compare` runs in a worker; `disagreements` judges what it found and needs nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .identity import weights_digest
from .job import Agreement
from .protocol import StageError

NEW_TOKENS = 16
# A merge rounds once to the dtype of the weights. It may move logits by this part of what the tuning moved them by;
# a delta that is merged twice, or not at all, moves them by all of it.
ROUNDING = 0.25
# ... or by this part of the largest logit, where the tuning moved next to nothing.
NOISE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}


def compare(
    base: str, adapter: Path | None, merged: Path, dtype: str, prompts: Sequence[Sequence[int]], **load: Any
) -> dict[str, Any]:
    """What the base, the base under the adapter, the adapter merged again and the saved folder answer to the prompts.

    `agreement`: {name: {max_logit_diff, greedy}} of each against the adapter (the share of equal greedy tokens);
    `effect`: what the tuning moved the logits by; `weights`: what differs between base and saved folder;
    `reloaded_weights`: the hash of the saved folder's weights as they were loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    def loaded(folder: str) -> Any:
        options = load if folder == base else {}
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options).eval()  # type: ignore[no-untyped-call]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = loaded(base).to(device)
    answers = {"base": _answers(model, prompts)}
    if adapter:
        from peft import PeftModel

        tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
        answers["adapter"] = _answers(tuned, prompts)
        answers["merged"] = _answers(tuned.merge_and_unload(), prompts)
        del tuned
    del model
    model = loaded(str(merged)).to(device)
    answers["reloaded"] = _answers(model, prompts)
    against = answers["adapter" if adapter else "reloaded"]
    return {
        "dtype": dtype,
        "prompts": len(prompts),
        "agreement": {name: _agreement(found, against) for name, found in answers.items()},
        "reloaded_weights": weights_digest(model),
        "effect": _agreement(answers["base"], against)["max_logit_diff"],
        "largest_logit": max(float(logits.abs().max()) for logits, _ in against),
        "weights": changes(Path(base), merged) if Path(base).is_dir() else None,
    }


def _answers(model: Any, prompts: Sequence[Sequence[int]]) -> list[tuple[Any, list[int]]]:
    """For each prompt, the logits after it and the greedy tokens that follow; all in one batch, padded on the left."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    wanted = {"output_logits": True, "return_dict_in_generate": True}
    plain = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1, pad_token_id=0, **wanted)  # type: ignore[no-untyped-call]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=plain
        )
    return list(zip(found.logits[0].float().cpu(), found.sequences[:, width:].tolist(), strict=True))


def _agreement(found: Sequence[Any], against: Sequence[Any]) -> dict[str, float]:
    pairs = list(zip(found, against, strict=True))
    equal = [a == b for (_, left), (_, right) in pairs for a, b in zip(left, right, strict=True)]
    diff = max(float((left - right).abs().max()) for (left, _), (right, _) in pairs)
    return {"max_logit_diff": diff, "greedy": sum(equal) / len(equal)}


def changes(base: Path, tuned: Path) -> dict[str, Any]:
    """Which tensors of two folders differ: `compared`, `changed`, the largest change, and names on one side only."""
    import torch

    left, right = _tensors(base), _tensors(tuned)
    changed, largest, where = 0, 0.0, None
    for name in left.keys() & right.keys():
        a, b = _read(left[name], name), _read(right[name], name)
        if a.shape != b.shape:
            changed, where = changed + 1, name
            continue
        # Both in the narrower of the two types: a cast alone is no change.
        narrow = min((a.dtype, b.dtype), key=lambda t: t.itemsize)
        diff = float((a.to(narrow).to(torch.float32) - b.to(narrow).to(torch.float32)).abs().max())
        changed += diff > 0
        largest, where = max((largest, where), (diff, name), key=lambda pair: pair[0])
    return {
        "compared": len(left.keys() & right.keys()),
        "changed": changed,
        "largest": largest,
        "where": where,
        "only_base": sorted(left.keys() - right.keys())[:5],
        "only_tuned": sorted(right.keys() - left.keys())[:5],
    }


def _tensors(folder: Path) -> dict[str, Path]:
    return dict(_named(folder))


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            yield from ((name, path) for name in file.keys())  # noqa: SIM118  it is no mapping


def _read(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def disagreements(found: Mapping[str, Any], allowed: Agreement, *, must_change: bool = True) -> list[str]:
    """What is wrong with the saved model, in words that name the cause; empty where it is the trained one."""
    problems = []
    weights, effect = found["weights"], found["effect"]
    if must_change and weights and not weights["changed"]:
        problems.append(
            f"none of the {weights['compared']} tensors of the saved model differs from the base: the base was saved, "
            "not what was trained (was the adapter merged?)"
        )
    limit, least = _limit(found, allowed), allowed.min_greedy_agreement
    for name in ("merged", "reloaded"):
        one = found["agreement"].get(name)
        if one is None or (one["max_logit_diff"] <= limit and one["greedy"] >= least):
            continue
        cause = "the folder does not hold what was trained" if name == "reloaded" else "merging changed the model"
        problems.append(
            f"the {name} model is not the adapter's: logits differ by {one['max_logit_diff']:.3g}, allowed "
            f"{limit:.3g} (the tuning moved them by {effect:.3g}); {one['greedy']:.0%} of greedy tokens are equal"
            f"{f', expected {least:.0%}' if least else ''}: {cause} (merged twice, in another precision, or onto "
            "another base?)"
        )
    return problems


def _limit(found: Mapping[str, Any], allowed: Agreement) -> float:
    if not isinstance(allowed.max_logit_diff, str):
        return allowed.max_logit_diff
    if found["dtype"] not in NOISE:
        raise StageError(f"no logit difference is known for {found['dtype']}: set gate.merged_vs_adapter by a number")
    return max(ROUNDING * float(found["effect"]), NOISE[found["dtype"]] * float(found["largest_logit"]))
