"""Published tokenizers with a tiny model each, mended: what transformers encodes, renders and generates with them.

Only what a fix announces may change.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import CONVERSATION, loaded_model, loaded_tokenizer, proposed, written
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

pytestmark = pytest.mark.slow

ROWS = {
    "llama3": 128256,
    "llama3_1": 128256,
    "gemma3": 262208,
    "gemini": 256000,
    "deepseek_v3": 129280,
    "qwen3": 151936,
}
PADS = {
    "llama3": "<|reserved_special_token_2|>",
    "llama3_1": "<|reserved_special_token_2|>",
    "gemma3": "<pad>",
    "gemini": "<pad>",
    "deepseek_v3": "<｜▁pad▁｜>",  # noqa: RUF001
    "qwen3": "<|vision_pad|>",
}
TEXTS = (
    "The quick brown fox doesn't jump over 12345 lazy dogs.",
    "  two  spaces\n\n\tand a tab",
    "Größe, naïve café, 東京都に行きました。 😀",
    "<s>[INST] <|im_start|>user <start_of_turn> <|eot_id|> <pad> <unused3> <|reserved_special_token_5|>",
)


@pytest.fixture
def checkpoint(tmp_path: Path, cached: Callable[[str], Path]) -> Callable[..., Path]:
    """A folder with a published tokenizer, changed as wanted, and a tiny model of as many rows as the published one."""

    def make(name: str, **tokenizer_config: Any) -> Path:
        folder = tmp_path / "model"
        torch.manual_seed(0)
        sizes: Any = {
            "vocab_size": ROWS[name], "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
            "bos_token_id": None, "pad_token_id": None,
        }  # fmt: skip
        tied = name.startswith("gem")
        model: Any = GemmaForCausalLM(GemmaConfig(**sizes)) if tied else LlamaForCausalLM(LlamaConfig(**sizes))
        original = json.loads((cached(f"tokenizers/{name}") / "tokenizer_config.json").read_text())
        config = {**original, **tokenizer_config}
        shutil.copytree(cached(f"tokenizers/{name}"), folder)
        eos = config["eos_token"]
        text = eos if isinstance(eos, str) else eos["content"]
        number = loaded_tokenizer(folder).convert_tokens_to_ids(text)
        model.config.eos_token_id = model.generation_config.eos_token_id = number
        model.to(torch.bfloat16).save_pretrained(folder)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False))
        return folder

    return make


def encodings(tokenizer: Any) -> list[list[int]]:
    """Texts and a conversation as ids, with and without what the tokenizer adds."""
    texts = [*TEXTS, tokenizer.apply_chat_template(CONVERSATION[1:], tokenize=False, add_generation_prompt=True)]
    return [tokenizer(text, add_special_tokens=framed).input_ids for text in texts for framed in (False, True)]


@pytest.mark.parametrize("name", PADS)
def test_the_pad_is_another_token_than_the_eos_and_no_text_changes(
    name: str, checkpoint: Callable[..., Path], cached: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = json.loads((cached(f"tokenizers/{name}") / "tokenizer_config.json").read_text())
    eos = settings["eos_token"]
    folder = checkpoint(name, pad_token=eos if isinstance(eos, str) else eos["content"])
    proposal = proposed(folder, select=["pad-is-eos"])
    assert proposal.faults == []
    mended = written(proposal, tmp_path / "mended")
    old, new = loaded_tokenizer(folder), loaded_tokenizer(mended)
    assert (old.pad_token, new.pad_token) == (old.eos_token, PADS[name])
    assert new.pad_token_id not in (new.eos_token_id, None)
    assert encodings(new) == encodings(old)
    model = loaded_model(mended)
    assert model.config.pad_token_id == new.pad_token_id < model.get_input_embeddings().weight.shape[0]
    batch = new(["a", "a longer text"], return_tensors="pt", padding=True, padding_side="left")
    assert int((batch.input_ids == new.pad_token_id).sum()) == int((batch.attention_mask == 0).sum()) > 0
    assert model.generate(**batch, max_new_tokens=2, do_sample=False).shape[0] == 2


@pytest.mark.parametrize(("name", "terminator"), [("llama3", 128009), ("gemini", 107)])
def test_generation_ends_with_the_turn(
    name: str, terminator: int, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = checkpoint(name)
    proposal = proposed(folder, select=["terminator-not-eos"])
    assert proposal.faults == []
    lengths = []
    for path in (folder, written(proposal, tmp_path / "mended")):
        model = loaded_model(path)
        prompt = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            row = model.model(prompt).last_hidden_state[0, -1].clone()
            model.set_output_embeddings(torch.nn.Linear(16, ROWS[name], bias=False))
            model.lm_head.weight.zero_()
            model.lm_head.weight[terminator] = row
        made = model.generate(prompt, max_new_tokens=6, do_sample=False)
        assert made[0, 3] == terminator
        lengths.append(made.shape[1] - 3)
    assert lengths[0] > lengths[1] == 1


@pytest.mark.parametrize("name", ["gemini", "gemma3"])
def test_gemma_gets_its_bos_back(name: str, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint(name, chat_template=None)
    whole = loaded_tokenizer(folder)
    document = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**document, "post_processor": None}, ensure_ascii=False))
    proposal = proposed(folder, select=["bos-missing"])
    assert proposal.faults == []
    old, new = (loaded_tokenizer(path) for path in (folder, written(proposal, tmp_path / "mended")))
    for text in TEXTS:
        assert new(text).input_ids == [2, *old(text).input_ids] == whole(text).input_ids
        assert new(text, add_special_tokens=False).input_ids == old(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("name", ["llama3_1", "gemma3", "gemini"])
def test_an_export_renders_one_bos_less_and_nothing_else(
    name: str, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = checkpoint(name)
    proposal = proposed(folder, select=["double-bos"], target=["llama.cpp"], unsafe=True)
    assert proposal.faults == []
    old, new = (loaded_tokenizer(path) for path in (folder, written(proposal, tmp_path / "mended")))
    for ask, messages in ((True, CONVERSATION[1:-1]), (False, CONVERSATION[1:])):
        before, after = (t.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask) for t in (old, new))
        assert before == old.bos_token + after
    assert [new(text).input_ids for text in TEXTS] == [old(text).input_ids for text in TEXTS]


def test_a_new_pad_takes_a_spare_row(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint("qwen3", pad_token="<|im_end|>")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] += "{# <|vision_pad|> <|fim_pad|> #}"  # as if they were in use
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    proposal = proposed(folder, select=["pad-is-eos"], unsafe=True)
    assert proposal.faults == []
    mended = written(proposal, tmp_path / "mended")
    old, new = loaded_tokenizer(folder), loaded_tokenizer(mended)
    assert (new.pad_token, new.pad_token_id) == ("<|pad|>", 151669)
    assert encodings(new) == encodings(old)
    assert (mended / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
