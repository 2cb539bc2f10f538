"""The tables of expected tensors, and the rules on them, against what transformers really saves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tensor_tables
from tensor_families import FAMILIES
from tensor_fit import NUMBER
from tensor_probe import Header, config_of, header, quieten, save, settings

import modelcheck
from modelcheck.check import Check
from modelcheck.checks.config import vocab_size_rows
from modelcheck.checks.weights import head_missing, missing_tensor, wrapper_prefix
from modelcheck.errors import UsageError
from modelcheck.facts.config import Config
from modelcheck.facts.expected import table
from modelcheck.facts.periodic import periodic_gaps
from modelcheck.facts.tensors import Tensor, Tensors

THIRD = 2
TEN = (
    "deepseek_v3", "falcon", "gemma2", "gpt2", "gpt_neox", "gpt_oss", "llama", "mixtral", "phi3", "qwen2_moe"
)  # fmt: skip
RULES: tuple[Check, ...] = (missing_tensor, head_missing, vocab_size_rows, wrapper_prefix)


@cache
def checkpoint(model_type: str, on: frozenset[str] = frozenset(), *, original: bool = True) -> tuple[Any, Header]:
    """(config.json, header) as transformers saves a tiny model of the third probe."""
    quieten()
    with TemporaryDirectory() as folder:
        values = settings(FAMILIES[model_type], THIRD, on)
        save(config_of(model_type, values), Path(folder), original=original)
        return json.loads(Path(folder, "config.json").read_text()), header(Path(folder))


def stored(shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    return Tensors({name: Tensor(name, "BF16", shape, "model.safetensors", 0, 0) for name, shape in shapes.items()}, {})


def told(config: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What the rules say of a header."""
    facts = {"config": Config(config, config, ""), "tensors": stored(shapes), "shards": {}}
    said = []
    for rule in RULES:
        try:
            said += [f"{f.at} {f.message}" for f in rule.on(**facts)]
        except UsageError:  # without an embedding some cannot be checked
            if rule is missing_tensor:
                raise
    return "\n".join(said)


def mutations(shapes: Header, name: str) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Every way in which one tensor is spoilt: dropped, renamed, and each dimension grown by one."""
    rest = {other: shape for other, shape in shapes.items() if other != name}
    yield "dropped", rest
    yield "renamed", {**rest, f"{name}_0": shapes[name]}
    for position, size in enumerate(shapes[name]):
        spoilt = list(shapes[name])
        spoilt[position] = size + 1
        yield f"dimension {position} grown", {**rest, name: tuple(spoilt)}


def misses(model_type: str, on: frozenset[str], names: list[str]) -> list[str]:
    config, shapes = checkpoint(model_type, on)
    return [
        f"{name} {how}"
        for name in names
        for how, spoilt in mutations(shapes, name)
        if name not in (text := told(config, spoilt)) and "tie_word_embeddings" not in text
    ]


def sample(shapes: Header) -> list[str]:
    """The tensors outside the layers, and those of the first and the last layer, with one expert each."""
    places = {name: [int(number) for number in NUMBER.findall(name)] for name in shapes}
    return [name for name, place in places.items() if not place or (place[0] in (0, 6) and place[1:] in ([], [0]))]


@pytest.mark.parametrize("model_type", TEN)
def test_each_tensor_dropped_renamed_or_reshaped_is_found(model_type: str) -> None:
    _, shapes = checkpoint(model_type)
    names = sample(shapes)
    assert len(names) > 10
    assert misses(model_type, frozenset(), names) == []


def few(model_type: str) -> list[frozenset[str]]:
    """No switch, each one alone, and all together."""
    switches = FAMILIES[model_type].switches
    return [frozenset(), *(frozenset([key]) for key in switches), frozenset(switches)]


def every(model_type: str) -> list[frozenset[str]]:
    switches = FAMILIES[model_type].switches
    return [frozenset(on) for size in range(len(switches) + 1) for on in itertools.combinations(switches, size)]


@pytest.mark.parametrize("model_type", TEN)
def test_tied_biased_and_partly_dense_variants_are_silent(model_type: str) -> None:
    for on in few(model_type):
        assert told(*checkpoint(model_type, on)) == "", on
        assert told(*checkpoint(model_type, on, original=False)) == "", on


@pytest.mark.parametrize("model_type", TEN)
def test_layers_of_a_model_that_no_table_knows_are_compared_with_one_another(model_type: str) -> None:
    for on in few(model_type):
        assert periodic_gaps(dict(checkpoint(model_type, on)[1])) == []
    shapes = dict(checkpoint(model_type)[1])
    if model_type in ("deepseek_v3", "qwen2_moe"):  # of seven layers, too few are of one kind
        return
    inner = [name for name in shapes if ".2." in name and ".experts." not in name]
    for name in inner:
        for how, spoilt in mutations(shapes, name):
            assert name in [gap.name for gap in periodic_gaps(dict(spoilt))], how


class TestUnknown:
    def unsure(self, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
        with pytest.raises(UsageError) as raised:
            told(config, shapes)
        return str(raised.value)

    @pytest.fixture
    def llama(self) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
        config, shapes = checkpoint("llama")
        shapes = {
            name: shape for name, shape in shapes.items() if "layers.3.mlp.up" not in name or "weight" not in name
        }
        return dict(config), shapes

    @pytest.mark.parametrize(
        "change",
        [
            {"architectures": ["LlamaForSequenceClassification"]},
            {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}},
            {"quantization_config": {"quant_method": "gptq"}},
            {"num_key_value_heads": "four"},
            {"num_hidden_layers": 10**30},
            {"hidden_size": -64},
            {"head_dim": [16]},
        ],
        ids=str,
    )
    def test_a_config_outside_what_was_probed(self, llama: Any, change: dict[str, Any]) -> None:
        config, shapes = llama
        whole = {**shapes, "model.layers.3.mlp.up_proj.weight": shapes["model.layers.2.mlp.up_proj.weight"]}
        with pytest.raises(UsageError, match="could not be checked"):
            missing_tensor.on(config=Config(config | change, config | change, ""), tensors=stored(whole), shards={})

    def test_an_own_class_is_still_compared_layer_with_layer(self, llama: Any) -> None:
        config, shapes = llama
        config |= {"architectures": ["OwnForCausalLM"]}
        assert "layers.3.mlp.up_proj" in told(config, shapes)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_tensor_of_every_variant(model_type: str) -> None:
    for on in every(model_type):
        config, shapes = checkpoint(model_type, on)
        assert told(config, shapes) == "", on
        assert told(*checkpoint(model_type, on, original=False)) == "", on
        assert periodic_gaps(dict(shapes)) == [], on
    for on in few(model_type):
        assert misses(model_type, on, list(checkpoint(model_type, on)[1])) == []


@pytest.mark.slow
def test_the_tables_are_what_transformers_saves() -> None:
    assert tensor_tables.main(["--check"]) == 0


def test_the_language_model_of_a_multimodal_model(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    quieten()
    text = {key: three[THIRD] for key, three in FAMILIES["gemma3_text"].dimensions.items()}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 14}
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision | sizes))
    for original in (True, False):
        folder = tmp_path / str(original)
        model.save_pretrained(folder, save_original_format=original)
        assert modelcheck.lint(folder, select=["missing-tensor", "head-missing", "wrapper-prefix"]).findings == []
        root = json.loads((folder / "config.json").read_text())
        shapes = dict(header(folder))
        lost = next(name for name in shapes if name.endswith("layers.0.self_attn.q_proj.weight"))
        del shapes[lost]
        facts = {"config": Config(root, root["text_config"], "/text_config"), "tensors": stored(shapes), "shards": {}}
        [finding] = missing_tensor.on(**facts)
        assert finding.at == lost


@pytest.mark.parametrize("name", ["x" * 300, "../vllm/0", "", None, 7])
def test_what_is_no_model_type_has_no_table(name: object) -> None:
    assert table(name) is None
