"""The fixers of pads and BOS: what they choose, what they refuse, and what transformers makes of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import contents, loaded_model, loaded_tokenizer, proposed, written

from modelcheck.mending.proposal import Proposal
from modelcheck.testing import write_overlay

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# The tiny tokenizer has <|pad|> <|bos|> <|im_start|> <|im_end|> <|reserved_0|> <|reserved_1|> as ids 0 to 5.
PAD_IS_EOS = '{"pad_token": "<|im_end|>"}'
TEXTS = ("the model reads a text", "<|im_start|>user\nHi<|im_end|>", "x<|pad|>y", "  two  spaces\n\n", "naïve 東京 😀")


def mend(tmp_path: Path, overlay: dict[str, Any], *, unsafe: bool = False, **set_up: Any) -> tuple[Proposal, Path]:
    """The proposal for the tiny checkpoint under an overlay, and the mended folder."""
    files = {name: text if isinstance(text, str) else json.dumps(text) for name, text in overlay.items()}
    proposal = proposed(write_overlay(tmp_path / "model", files), unsafe=unsafe, **set_up)
    assert proposal.faults == []
    return proposal, written(proposal, tmp_path / "mended")


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a folder."""
    document: dict[str, Any] = json.loads((folder / name).read_text())
    return document


def without_named_pads() -> dict[str, Any]:
    """tokenizer.json as an overlay, in which no token is named for padding."""
    names = ("<|one|>", "<|bos|>", "<|im_start|>", "<|im_end|>", "<|reserved_0|>", "<|reserved_1|>")
    tokens = [{"id": i, "content": n, "special": True, **FLAGS} for i, n in enumerate(names)]
    return {"added_tokens": tokens, "model": {"vocab": {"<|pad|>": None, "<|one|>": 0}}}


FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
BARE: dict[str, Any] = {"tokenizer.json": without_named_pads(), "tokenizer_config.json": PAD_IS_EOS}


def test_pad_is_eos_takes_the_token_named_for_it_and_leaves_the_weights(tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, {"tokenizer_config.json": PAD_IS_EOS, "config.json": {"pad_token_id": 3}})
    assert read(folder, "tokenizer_config.json")["pad_token"] == "<|pad|>"
    assert read(folder, "config.json")["pad_token_id"] == 0
    assert {change.name for change in proposal.plan.changes} == {"tokenizer_config.json", "config.json"}


def test_the_special_tokens_map_and_the_nested_config_follow(tmp_path: Path) -> None:
    overlay = {
        "tokenizer_config.json": PAD_IS_EOS,
        "special_tokens_map.json": {"pad_token": "<|im_end|>"},
        "config.json": {"pad_token_id": None, "text_config": {"pad_token_id": 3}},
        "generation_config.json": {"pad_token_id": 3},
    }
    _, folder = mend(tmp_path, overlay, select=["pad-is-eos"])
    assert read(folder, "special_tokens_map.json")["pad_token"] == "<|pad|>"
    assert read(folder, "config.json")["text_config"]["pad_token_id"] == 0
    assert read(folder, "generation_config.json")["pad_token_id"] == 0
    assert "pad_token_id" not in read(folder, "config.json")


def test_a_reserved_token_pads_only_if_its_row_was_never_trained(tmp_path: Path) -> None:
    trained, _ = mend(tmp_path / "trained", BARE, select=["pad-is-eos"])
    assert trained.plan.fixes == []
    rows = {"tensors.json": {EMBEDDING: {"5": "zeros"}}}
    _, folder = mend(tmp_path / "untrained", {**BARE, **rows}, select=["pad-is-eos"])
    assert read(folder, "tokenizer_config.json")["pad_token"] == "<|reserved_1|>"


USED = {
    "in the template": {
        "tokenizer_config.json": {"pad_token": "<|im_end|>", "chat_template": "<|reserved_1|>{{ messages[0].content }}"}
    },
    "only in a branch of the template": {
        "tokenizer_config.json": {
            "pad_token": "<|im_end|>",
            "chat_template": "{{ messages[0].content }}{% if false %}<|reserved_1|>{% endif %}",
        }
    },
    "as another special token": {"tokenizer_config.json": {"pad_token": "<|im_end|>", "unk_token": "<|reserved_1|>"}},
    "as a stop id": {"generation_config.json": {"eos_token_id": [3, 5]}},
    "as an image's place": {"config.json": {"image_token_id": 5}},
}


@pytest.mark.parametrize("overlay", USED.values(), ids=USED)
def test_a_token_in_use_is_never_taken(overlay: dict[str, Any], tmp_path: Path) -> None:
    rows = {"tensors.json": {EMBEDDING: {"5": "zeros"}}}
    proposal, _ = mend(tmp_path, {**BARE, **rows, **overlay}, select=["pad-is-eos"])
    assert proposal.plan.fixes == []
    [left] = proposal.plan.left_out
    assert left.unsafe


def test_without_weights_only_a_name_can_tell(tmp_path: Path) -> None:
    proposal, _ = mend(tmp_path, {**BARE, "model.safetensors": "null"}, select=["pad-is-eos"], unsafe=True)
    assert proposal.plan.fixes == []
    assert "no token is reserved for padding" in proposal.plan.left_out[0].reason


def test_a_new_token_gets_a_name_that_no_entry_has(tmp_path: Path) -> None:
    config = {"pad_token": "<|im_end|>", "unk_token": "<|pad|>"}
    _, folder = mend(tmp_path, {"tokenizer_config.json": config}, unsafe=True, select=["pad-is-eos"])
    assert read(folder, "tokenizer.json")["added_tokens"][-1]["content"] == "<|pad|>#"


def test_a_new_token_in_transformers(tmp_path: Path) -> None:
    import torch

    proposal, folder = mend(tmp_path, BARE, unsafe=True, select=["pad-is-eos"])
    assert read(folder, "config.json")["vocab_size"] == 321
    old, new = loaded_tokenizer(proposal.folder), loaded_tokenizer(folder)
    assert (new.pad_token, new.pad_token_id, new.eos_token_id) == ("<|pad|>", 320, 3)
    assert [new(text).input_ids for text in TEXTS if "<|pad|>" not in text] == [
        old(text).input_ids for text in TEXTS if "<|pad|>" not in text
    ]
    before, after = (loaded_model(path) for path in (proposal.folder, folder))
    ids = torch.tensor([new("the model reads").input_ids])
    with torch.no_grad():
        assert torch.equal(before(ids).logits, after(ids).logits[..., :320])
        batch = new(["a", "the model reads a text"], return_tensors="pt", padding=True, padding_side="left")
        assert after.generate(**batch, max_new_tokens=3, do_sample=False).shape[0] == 2
    for name in (EMBEDDING, HEAD):
        assert torch.equal(before.state_dict()[name], after.state_dict()[name][:320])
        mean = before.state_dict()[name].mean(0)
        assert torch.allclose(after.state_dict()[name][320], mean, atol=2e-4)


def test_a_spare_row_is_used_before_one_is_added(tmp_path: Path) -> None:
    document = without_named_pads()
    vocabulary = json.loads((write_overlay(tmp_path / "plain", {}) / "tokenizer.json").read_text())["model"]
    [last] = [token for token, number in vocabulary["vocab"].items() if number == 319]
    merges = [merge for merge in vocabulary["merges"] if "".join(merge) != last and last not in merge]
    document["model"] = {"vocab": {**document["model"]["vocab"], last: None}, "merges": merges}
    _, folder = mend(tmp_path, {**BARE, "tokenizer.json": document}, unsafe=True, select=["pad-is-eos"])
    assert read(folder, "config.json")["pad_token_id"] == 319
    assert read(folder, "config.json")["vocab_size"] == 320
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_tied_model_gets_one_row(tmp_path: Path) -> None:
    overlay = {**BARE, "config.json": {"tie_word_embeddings": True}, "tensors.json": {HEAD: None}}
    proposal, folder = mend(tmp_path, overlay, unsafe=True, select=["pad-is-eos"])
    grown = (folder / "model.safetensors").stat().st_size - (proposal.folder / "model.safetensors").stat().st_size
    assert grown == 64 * 2


def test_another_tensor_as_long_as_the_vocabulary_is_refused(tmp_path: Path) -> None:
    overlay = {**BARE, "tensors.json": {"lm_head.bias": ["F32", [320], "zeros"]}}
    proposal, _ = mend(tmp_path, overlay, unsafe=True, select=["pad-is-eos"])
    assert proposal.plan.fixes == []


def test_a_pad_id_without_a_row_becomes_that_of_the_pad_token(tmp_path: Path) -> None:
    _, folder = mend(tmp_path, {"config.json": {"pad_token_id": -1}}, select=["pad-out-of-range"])
    assert read(folder, "config.json")["pad_token_id"] == 0


def test_a_pad_id_without_a_row_is_dropped_where_nothing_pads(tmp_path: Path) -> None:
    config = {"tokenizer_config.json": {"pad_token": None}, "config.json": {"pad_token_id": 999}}
    proposal, folder = mend(tmp_path, {**BARE, **config}, select=["pad-out-of-range"])
    assert read(folder, "config.json")["pad_token_id"] is None
    assert "name one as pad_token" in proposal.plan.fixes[0].notes[0]


GEMMA = {
    "config.json": {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]},
    "tokenizer_config.json": {"bos_token": "<|bos|>"},
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
EOS_BEHIND = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [3], "tokens": ["<|im_end|>"]}},
}
PROCESSORS = {
    "none": None,
    "byte level": BYTE_LEVEL,
    "a template that appends": EOS_BEHIND,
    "both in a row": {"type": "Sequence", "processors": [BYTE_LEVEL, EOS_BEHIND]},
}


@pytest.mark.parametrize("add_bos_token", [None, False])
@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)
def test_gemma_begins_with_bos_in_transformers(processor: Any, add_bos_token: object, tmp_path: Path) -> None:
    overlay = {**GEMMA, "tokenizer.json": {"post_processor": processor}}
    overlay["tokenizer_config.json"] = {"bos_token": "<|bos|>", "add_bos_token": add_bos_token}
    proposal, folder = mend(tmp_path, overlay, select=["bos-missing"])
    assert len(proposal.plan.fixes) == 1
    old, new = loaded_tokenizer(proposal.folder), loaded_tokenizer(folder)
    for text in TEXTS:
        assert new(text).input_ids == [1, *old(text).input_ids]
        assert new(text, add_special_tokens=False).input_ids == old(text, add_special_tokens=False).input_ids
    pair, first = new("a", "b").input_ids, old("a", "b").input_ids
    assert pair == [1, *first]


def test_no_other_family_is_given_a_bos(tmp_path: Path) -> None:
    overlay = {"tokenizer.json": without_named_pads(), "tokenizer_config.json": {"bos_token": "<s>", "pad_token": None}}
    overlay["tokenizer.json"]["added_tokens"][1]["content"] = "<s>"
    overlay["tokenizer.json"]["model"]["vocab"] |= {"<|bos|>": None, "<s>": 1}
    proposal, _ = mend(tmp_path, overlay, unsafe=True, select=["bos-missing"])
    assert len(proposal.before.findings) == 1
    assert proposal.plan.fixes == []


BOS_FIRST = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}},
}
LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
WRITES_BOS = {
    "by its variable": "{{ bos_token }}" + LOOP + PROMPT,
    "literally": "<|bos|>" + LOOP + PROMPT,
    "behind a blank line": "\n{{- bos_token -}}\n" + LOOP + PROMPT,
    "in the loop": "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}" + LOOP[23:] + PROMPT,
}


@pytest.mark.parametrize("template", WRITES_BOS.values(), ids=WRITES_BOS)
@pytest.mark.parametrize("target", ["llama.cpp", "ollama"])
def test_an_export_gets_one_bos(target: str, template: str, tmp_path: Path) -> None:
    config = {"bos_token": "<|bos|>", "chat_template": template}
    overlay = {"tokenizer.json": {"post_processor": BOS_FIRST}, "tokenizer_config.json": config}
    proposal, _ = mend(tmp_path, overlay, unsafe=True, select=["double-bos"], target=[target])
    before, after = proposal.model_sees
    assert after.texts == {name: text.removeprefix("<|bos|>") for name, text in before.texts.items()}
    assert after.texts != before.texts
    assert after.plain == before.plain


def test_a_bos_before_every_turn_is_left(tmp_path: Path) -> None:
    config = {"bos_token": "<|bos|>", "chat_template": LOOP.replace("<|im_start|>", "{{ bos_token }}<|im_start|>")}
    overlay = {"tokenizer.json": {"post_processor": BOS_FIRST}, "tokenizer_config.json": config}
    proposal, _ = mend(tmp_path, overlay, unsafe=True, select=["double-bos"], target=["llama.cpp"])
    assert "in other places too" in proposal.plan.left_out[0].reason


@pytest.mark.parametrize("target", [[], ["transformers"], ["llama.cpp", "vllm"]])
def test_a_double_bos_is_right_for_everybody_else(target: list[str], tmp_path: Path) -> None:
    config = {"bos_token": "<|bos|>", "chat_template": WRITES_BOS["by its variable"]}
    overlay = {"tokenizer.json": {"post_processor": BOS_FIRST}, "tokenizer_config.json": config}
    proposal, _ = mend(tmp_path, overlay, unsafe=True, select=["double-bos"], target=target)
    assert "add_special_tokens=False" in proposal.plan.left_out[0].reason
    assert contents(proposal.folder) == contents(tmp_path / "mended")
