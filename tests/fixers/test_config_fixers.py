"""The fixers of config.json: the hard cases, and what transformers makes of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import contents, proposed, written

from modelcheck.testing import write_overlay

GEMMA = {
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "rope_theta": None,
    "rope_parameters": {
        "rope_type": None,
        "rope_theta": None,
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}


def mended(tmp_path: Path, config: dict[str, Any], slug: str, **options: Any) -> dict[str, Any]:
    """config.json after the fixes of one rule."""
    folder = write_overlay(tmp_path / "model", {"config.json": json.dumps(config)})
    proposal = proposed(folder, select=[slug], unsafe=True, **options)
    assert proposal.faults == []
    config_after: dict[str, Any] = json.loads((written(proposal, tmp_path / "mended") / "config.json").read_text())
    return config_after


def test_rope_is_written_in_both_shapes_with_its_scaling(tmp_path: Path) -> None:
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    parameters = {**llama3, "original_max_position_embeddings": 8192, "rope_theta": 5e5}
    config = mended(tmp_path, {"rope_theta": None, "rope_parameters": parameters}, "rope-v5-only")
    assert config["rope_parameters"] == parameters
    assert config["rope_theta"] == 5e5
    assert config["rope_scaling"] == {**llama3, "original_max_position_embeddings": 8192}


def test_rope_of_the_default_type_gets_no_scaling(tmp_path: Path) -> None:
    parameters = {"rope_type": "default", "rope_theta": 5e5}
    config = mended(tmp_path, {"rope_theta": None, "rope_parameters": parameters}, "rope-v5-only")
    assert (config["rope_theta"], config.get("rope_scaling")) == (5e5, None)


def test_gemma_3_gets_a_theta_for_each_kind_of_layer(tmp_path: Path) -> None:
    config = mended(tmp_path, GEMMA, "rope-v5-only")
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_layers_that_transformers_4_has_no_words_for_are_left_alone(tmp_path: Path) -> None:
    config = {**GEMMA, "model_type": "other"}
    folder = write_overlay(tmp_path / "model", {"config.json": json.dumps(config)})
    proposal = proposed(folder, select=["rope-v5-only"])
    assert proposal.plan.changes == []
    assert "from Gemma 3 alone" in proposal.plan.left_out[0].reason


def test_the_type_that_todays_readers_go_by_wins(tmp_path: Path) -> None:
    parameters = {"rope_type": "linear", "type": "dynamic", "factor": 2.0}
    config = mended(tmp_path, {"rope_parameters": parameters}, "rope-type-conflict")
    assert config["rope_parameters"]["type"] == "linear"


def test_the_window_is_left_alone_without_unsafe(tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "model", {"config.json": '{"sliding_window": 2047}'})
    proposal = proposed(folder, select=["sliding-window-off-by-one"])
    assert proposal.plan.changes == []
    assert [left.unsafe for left in proposal.plan.left_out] == [True]
    assert mended(tmp_path, {"sliding_window": 2047}, "CFG003")["sliding_window"] == 2048


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Phi-3 with fused projections and partial rotary embedding, as transformers saves it."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("phi3") / "base"
    Phi3ForCausalLM(config).save_pretrained(folder)
    return folder


def tuned(phi3: Path, folder: Path, changes: dict[str, Any]) -> Path:
    """The same weights under a config that a trainer has spoilt."""
    folder.mkdir()
    for name, content in contents(phi3).items():
        (folder / name).write_bytes(content)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def test_a_spoilt_config_is_restored_from_the_base_and_computes_the_same(phi3: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    spoilt = {
        "architectures": ["PeftModelForCausalLM"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0},
    }
    folder = tuned(phi3, tmp_path / "tuned", spoilt)
    proposal = proposed(folder, unsafe=True, base=str(phi3), select=["differs-from-base"])
    assert {fix.finding.at for fix in proposal.plan.fixes} == {"/architectures", "/partial_rotary_factor"}
    assert proposal.faults == []
    assert proposal.after.findings == []
    out = written(proposal, tmp_path / "mended")
    ids = torch.arange(3, 12)[None]
    logits = [AutoModelForCausalLM.from_pretrained(place)(ids).logits for place in (phi3, out, folder)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_where_the_tensors_no_longer_fit_copying_the_config_is_refused(phi3: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tuned(phi3, tmp_path / "tuned", {"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    tensors = load_file(folder / "model.safetensors")
    save_file({name.replace("qkv_proj", "q_proj"): t for name, t in tensors.items()}, folder / "model.safetensors")
    proposal = proposed(folder, unsafe=True, base=str(phi3), select=["differs-from-base"])
    assert proposal.plan.changes == []
    assert all("to copy it is no help" in left.reason for left in proposal.plan.left_out)


def test_a_head_that_is_lost_is_not_hidden_by_the_config_of_the_base(phi3: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tuned(phi3, tmp_path / "tuned", {"architectures": ["Phi3Model"]})
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if name != "lm_head.weight"}, folder / "model.safetensors")
    proposal = proposed(folder, unsafe=True, base=str(phi3))
    assert (proposal.plan.changes, proposal.faults) == ([], [])
    assert any("'lm_head.weight' of the base is not in" in left.reason for left in proposal.plan.left_out)


def test_added_tokens_do_not_hinder_the_restoring(phi3: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tuned(phi3, tmp_path / "tuned", {"architectures": ["Other"], "vocab_size": 60})
    tensors = load_file(folder / "model.safetensors")
    cut = {name: t[:60] if name.startswith(("model.embed", "lm_head")) else t for name, t in tensors.items()}
    save_file({name: t.copy() for name, t in cut.items()}, folder / "model.safetensors")
    proposal = proposed(folder, unsafe=True, base=str(phi3), select=["differs-from-base"])
    assert [fix.finding.at for fix in proposal.plan.fixes] == ["/architectures"]


def test_a_processor_that_is_gone_is_copied(phi3: Path, tmp_path: Path) -> None:
    folder = tuned(phi3, tmp_path / "tuned", {})
    base = tuned(phi3, tmp_path / "base", {})
    (base / "preprocessor_config.json").write_text('{"size": 224}')
    proposal = proposed(folder, unsafe=True, base=str(base), select=["differs-from-base"])
    assert contents(written(proposal, tmp_path / "mended"))["preprocessor_config.json"] == b'{"size": 224}'


@pytest.mark.parametrize("same_vocabulary", [True, False])
def test_the_tokenizers_class_is_restored_with_its_own_vocabulary_alone(tmp_path: Path, same_vocabulary: bool) -> None:
    overlay = {
        "tokenizer_config.json": '{"tokenizer_class": "TokenizersBackend"}',
        "base/tokenizer_config.json": '{"tokenizer_class": "PreTrainedTokenizerFast"}',
    }
    folder = write_overlay(tmp_path / "tuned", overlay)
    if not same_vocabulary:
        (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes() + b"\n")
    proposal = proposed(folder, unsafe=True, base=str(folder / "base"), select=["differs-from-base"])
    assert bool(proposal.plan.changes) is same_vocabulary


def test_what_is_only_spelled_otherwise_is_no_difference(phi3: Path, tmp_path: Path) -> None:
    folder = tuned(phi3, tmp_path / "tuned", {"auto_map": {"AutoConfig": "org/repo--configuration_x.X"}})
    base = tuned(phi3, tmp_path / "base", {"auto_map": {"AutoConfig": "configuration_x.X"}, "rope_parameters": None,
                                           "rope_theta": 10000.0, "partial_rotary_factor": 0.5})  # fmt: skip
    assert proposed(folder, base=str(base), select=["differs-from-base"]).before.findings == []
