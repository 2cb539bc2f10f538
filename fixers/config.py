"""Mending config.json and generation_config.json."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.edit import DropJson, Edit, SetJson, WriteFile
from modelcheck.facts.base import FitsBase
from modelcheck.facts.config import Config
from modelcheck.facts.files import Files, JsonObject
from modelcheck.facts.rope import Rope
from modelcheck.facts.tokenizer import TOKENIZER_LIMIT
from modelcheck.finding import Finding
from modelcheck.fixer import CannotFix, fixer

TANH = "gelu_pytorch_tanh"
VOCABULARY = "tokenizer.json"
ROPE = ("partial_rotary_factor", "rope_parameters", "rope_scaling", "rope_theta")
# What transformers 4 keeps beside the RoPE parameters, not in them.
OF_THE_ROOT = frozenset({"rope_theta", "partial_rotary_factor"})


@fixer("use-cache-false", safe=True)
def switch_the_cache_on(finding: Finding) -> Iterator[Edit]:
    """Switch the key-value cache on."""
    yield SetJson(str(finding.file), str(finding.at), value=True)


@fixer("gemma-exact-gelu", safe=True)
def name_the_approximation() -> Iterator[Edit]:
    """Name the activation that Gemma was trained with."""
    yield SetJson("config.json", "/hidden_act", TANH)
    yield SetJson("config.json", "/hidden_activation", TANH)


@fixer("sliding-window-off-by-one", safe=False)
def widen_the_window(config: Config) -> Iterator[Edit]:
    """Widen the sliding window by the one token that is missing."""
    at, window = config.text_where("sliding_window")
    yield SetJson(config.file, at, window + 1)


@fixer("rope-type-conflict", safe=True)
def name_one_rope_type(config: Config, ropes: tuple[Rope, ...]) -> Iterator[Edit]:
    """Set the old name of the RoPE type to what the new one says, which today's readers go by."""
    for rope in ropes:
        if rope.conflict:
            yield SetJson(config.file, f"{rope.at}/type", rope.values["rope_type"])


@fixer("rope-v5-only", safe=True)
def write_both_shapes_of_rope(config: Config, ropes: tuple[Rope, ...]) -> Iterator[Edit]:
    """Write RoPE as transformers 4 reads it too, beside what transformers 5 wrote."""
    place = config.text_at
    kinds = {rope.at.rpartition("/")[2]: rope for rope in ropes}
    if len(ropes) > 1 and kinds.keys() != {"full_attention", "sliding_attention"}:
        raise CannotFix(f"transformers 4 has no words for RoPE of {', '.join(kinds)}; serve with transformers 5")
    if "sliding_attention" in kinds:
        if not str(config.text.get("model_type")).startswith("gemma3"):
            raise CannotFix("transformers 4 reads a RoPE for each kind of layer from Gemma 3 alone")
        yield SetJson(config.file, f"{place}/rope_local_base_freq", kinds["sliding_attention"].values["rope_theta"])
    rope = kinds.get("full_attention", ropes[0])
    values = {key: value for key, value in rope.values.items() if key not in OF_THE_ROOT}
    for key in sorted(OF_THE_ROOT & rope.values.keys()):
        yield SetJson(config.file, f"{place}/{key}", rope.values[key])
    if rope.type != "default":
        yield SetJson(config.file, f"{place}/rope_scaling", values)


@fixer("differs-from-base", safe=False)
def restore_the_config(
    finding: Finding, config: Config, base_config: Config, base_files: Files, files: Files, fits_base: FitsBase
) -> Iterator[Edit]:
    """Restore from the base what decides how the weights are read."""
    if finding.file != config.file:
        return
    if fits_base.why_not:
        raise CannotFix(f"{fits_base.why_not}: the base's config cannot describe these weights, to copy it is no help")
    key = str(finding.at).rpartition("/")[2]
    for name in ROPE if key in ROPE else (key,):
        place = config.root if key in ("architectures", "model_type", "auto_map") else config.text
        at = "" if place is config.root else config.text_at
        theirs = base_config.root if place is config.root else base_config.text
        if name in theirs:
            yield SetJson(config.file, f"{at}/{name}", theirs[name])
        elif name in place:
            yield DropJson(config.file, f"{at}/{name}")
    for name in base_files:
        if key == "auto_map" and name.endswith(".py") and name not in files:
            yield WriteFile(name, base_files.whole(name))


@fixer("differs-from-base", safe=False)
def restore_files(finding: Finding, files: Files, base_files: Files) -> Iterator[Edit]:
    """Copy from the base the files that are gone."""
    if finding.file and finding.file not in files:
        yield WriteFile(finding.file, base_files.whole(finding.file))


@fixer("differs-from-base", safe=False)
def restore_the_tokenizer_class(
    finding: Finding, base_tokenizer_config: JsonObject, files: Files, base_files: Files
) -> Iterator[Edit]:
    """Restore from the base the class of the tokenizer."""
    if finding.at != "/tokenizer_class":
        return
    own, base = (side.whole(VOCABULARY, TOKENIZER_LIMIT) if VOCABULARY in side else b"" for side in (files, base_files))
    if own != base:
        raise CannotFix(f"{VOCABULARY} is not that of the base, whose class may read it in another way")
    yield SetJson("tokenizer_config.json", "/tokenizer_class", base_tokenizer_config["tokenizer_class"])
