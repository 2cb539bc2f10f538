"""The fixers of templates and stop ids: only what is announced changes, and what cannot be done cleanly is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import contents, loaded_model, loaded_tokenizer, proposed, written

from modelcheck.mending.proposal import Proposal
from modelcheck.testing import write_overlay

TEMPLATES = Path(__file__).parents[1] / "templates"
OWN = ("alternating", "chatml", "dates", "escapes", "loop-controls", "trimmed-blocks")
LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
SLUGS = ["template-date", "template-date-frozen", "generation-prompt-ignored"]


def mend(tmp_path: Path, overlay: dict[str, Any], *, unsafe: bool = True, **set_up: Any) -> tuple[Proposal, Path]:
    """The proposal for the tiny checkpoint under an overlay, and the mended folder."""
    files = {name: text if isinstance(text, str) else json.dumps(text) for name, text in overlay.items()}
    proposal = proposed(write_overlay(tmp_path / "model", files), unsafe=unsafe, **set_up)
    assert proposal.faults == []
    return proposal, written(proposal, tmp_path / "mended")


def rendered(folder: Path, *, ask: bool, **variables: Any) -> str:
    """What transformers renders for a short conversation."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}][: 1 if ask else 2]
    tokenizer = loaded_tokenizer(folder)
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **variables)
    return text


def generation_config(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "generation_config.json").read_text())
    return document


@pytest.mark.parametrize("name", OWN)
def test_a_template_is_mended_or_the_reason_said(name: str, tmp_path: Path) -> None:
    template = (TEMPLATES / f"{name}.jinja").read_text()
    folder = write_overlay(tmp_path / "model", {"chat_template.jinja": template})
    proposal = proposed(folder, unsafe=True, select=SLUGS)
    assert proposal.faults == []
    told = [f for f in proposal.before.findings if f.slug in SLUGS]
    assert len(proposal.plan.fixes) + len(proposal.plan.left_out) == len(told)


ASKS = "{%% if not date_string is defined %%}%s{%% endif %%}"
NOW = "{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
FROZEN = "{% set date_string = '26 Jul 2024' %}"
# (template, the sentence that goes, whether a caller may pass date_string)
DATES = {
    "a line of its own": ("{{ 'Cutoff: May.\\nToday: ' + strftime_now('%d %b %Y') + '\\n\\n' }}", "Today: {}\n", False),
    "behind a sentence": ("{{ 'You help. Today is ' ~ strftime_now('%Y-%m-%d') ~ '.\\n' }}", " Today is {}.", False),
    "before a sentence": ("{{ 'Today is ' + strftime_now('%Y-%m-%d') + '. You help.\\n' }}", "Today is {}. ", False),
    "in plain text": ("Today: {{ strftime_now('%Y-%m-%d') }}\n", "Today: {}\n", False),
    "held by a variable": (
        "{%- set today = strftime_now('%Y-%m-%d') %}\n{{- 'Be kind.\\nToday: ' + today + '\\n' }}",
        "Today: {}\n",
        False,
    ),
    "as the caller says": (
        ASKS % (NOW + "{% else %}" + FROZEN + "{% endif %}") + "{{ 'Today: ' + date_string + '\\n\\n' }}",
        "Today: {}\n",
        True,
    ),
    "frozen": (ASKS % FROZEN + "{{ 'Today: ' + date_string + '\\n' }}", "Today: {}\n", True),
    "frozen by a filter": ("Today: {{ date_string | default('26 Jul 2024') }}\n", "Today: {}\n", True),
    "quotes": ("{{ 'Say \"é\\\\n\".\\nToday: ' + strftime_now('%Y-%m-%d') + '\\n' }}", "Today: {}\n", False),
}  # fmt: skip


@pytest.mark.parametrize(("head", "sentence", "optional"), DATES.values(), ids=DATES)
def test_only_the_sentence_with_the_date_goes(head: str, sentence: str, optional: bool, tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, {"chat_template.jinja": head + LOOP + PROMPT}, select=SLUGS[:2])
    assert [f.slug for f in proposal.after.findings] == []
    for ask in (False, True):
        before, after = rendered(proposal.folder, ask=ask), rendered(folder, ask=ask)
        start, end = sentence.split("{}")
        head_kept, gone = before.split(start)
        assert after == head_kept + gone.partition(end)[2]
        if optional:
            passed = {"date_string": "1 May 1999"}
            assert rendered(folder, ask=ask, **passed) == rendered(proposal.folder, ask=ask, **passed)


def test_line_breaks_stay_as_they_are(tmp_path: Path) -> None:
    rest = (LOOP + PROMPT).replace("\n", "\r\n")
    template = "Be kind.\r\nToday: {{ strftime_now('%Y-%m-%d') }}\r\n" + rest
    _, folder = mend(tmp_path, {"tokenizer_config.json": {"chat_template": template}}, select=SLUGS[:1])
    after = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    assert after == "Be kind.\r\n" + rest


NO_SENTENCE = {
    "two dates": "Today: {{ strftime_now('%Y-%m-%d') }}\n{{ strftime_now('%A') }}\n",
    "a date alone": "{{ strftime_now('%Y-%m-%d') }}\n",
    "a sentence that goes on": "{{ 'It is ' + strftime_now('%Y-%m-%d') + ', a fine day.\\n' }}",
    "a format that is put together": "{{ 'It is ' + strftime_now('%Y' + '-%m-%d') + '.\\n' }}",
    "a date that is used twice": "{% set d = strftime_now('%Y-%m-%d') %}{{ 'Today: ' + d + '\\n' }}{{ 'So: ' + d }}",
    "a template that branches on it": "{% if strftime_now('%Y') == '2024' %}Old.\n{% endif %}",
}


@pytest.mark.parametrize("head", NO_SENTENCE.values(), ids=NO_SENTENCE)
def test_a_date_that_is_no_sentence_is_left_to_the_user(head: str, tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, {"chat_template.jinja": head + LOOP + PROMPT}, select=SLUGS[:1])
    assert len(proposal.before.findings) == 1
    assert proposal.plan.fixes == []
    assert "by hand" in proposal.plan.left_out[0].reason
    assert contents(folder) == contents(proposal.folder)


ENDS = {
    "": LOOP,
    "a line break": LOOP + "\n",
    "two": LOOP + "\n\n",
    "trimmed": LOOP.replace("{% endfor %}", "{%- endfor -%}"),
}


@pytest.mark.parametrize("template", ENDS.values(), ids=ENDS)
def test_the_generation_prompt_is_what_stands_before_an_answer(template: str, tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, {"chat_template.jinja": template}, select=SLUGS)
    assert proposal.plan.left_out == []
    header = rendered(folder, ask=True).removeprefix(rendered(proposal.folder, ask=True))
    assert header.strip() == "<|im_start|>assistant"
    assert rendered(folder, ask=False) == rendered(proposal.folder, ask=False)
    assert rendered(folder, ask=False).startswith(rendered(folder, ask=True))


def test_a_header_that_is_printed_always_is_left(tmp_path: Path) -> None:
    proposal, _ = mend(tmp_path, {"chat_template.jinja": LOOP + "<|im_start|>assistant\n"}, select=SLUGS)
    assert "printed always" in proposal.plan.left_out[0].reason


def test_both_copies_of_a_template_are_mended(tmp_path: Path) -> None:
    overlay = {"chat_template.jinja": LOOP, "tokenizer_config.json": {"chat_template": LOOP}}
    _, folder = mend(tmp_path, overlay)
    text = (folder / "chat_template.jinja").read_text()
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == text != LOOP


def test_a_template_from_elsewhere_is_not_mended(tmp_path: Path) -> None:
    (tmp_path / "other.jinja").write_text(LOOP)
    proposal, _ = mend(tmp_path, {}, chat_template=str(tmp_path / "other.jinja"), select=SLUGS)
    assert "no file of this checkpoint" in proposal.plan.left_out[0].reason


@pytest.mark.parametrize("named", [list, dict])
def test_named_templates_follow_their_files(named: type, tmp_path: Path) -> None:
    texts = {"default": "{{ 1 }}", "tool_use": "{{ 2 }}", "rag": "{{ 3 }}"}
    value: Any = texts if named is dict else [{"name": n, "template": t} for n, t in texts.items()]
    overlay = {
        "chat_template.jinja": LOOP + PROMPT,
        "additional_chat_templates/tool_use.jinja": PROMPT + LOOP,
        "tokenizer_config.json": {"chat_template": value},
    }
    proposal, folder = mend(tmp_path, overlay, unsafe=False, select=["two-template-sources"])
    after = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    found = after if named is dict else {entry["name"]: entry["template"] for entry in after}
    assert found == {"default": LOOP + PROMPT, "tool_use": PROMPT + LOOP, "rag": "{{ 3 }}"}
    assert rendered(folder, ask=True) == rendered(proposal.folder, ask=True)


def test_a_template_in_use_is_not_replaced(tmp_path: Path) -> None:
    overlay = {"chat_template.jinja": LOOP + PROMPT, "tokenizer_config.json": {"chat_template": PROMPT + LOOP}}
    proposal, _ = mend(tmp_path, overlay, select=["two-template-sources"], target=["llama.cpp"])
    assert proposal.plan.changes == []
    assert "would then get another prompt" in proposal.plan.left_out[0].reason


# The turn's end is <|im_end|> (3), which no file below names.
UNHEARD = {
    "tokenizer_config.json": {"eos_token": "<|reserved_0|>"},
    "config.json": {"eos_token_id": 4},
    "generation_config.json": {"eos_token_id": 4, "temperature": 0.5},
}


def test_the_terminator_joins_the_stop_ids(tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, UNHEARD, unsafe=False, select=["terminator-not-eos"])
    assert generation_config(folder) == {**generation_config(proposal.folder), "eos_token_id": [4, 3]}
    assert {change.name for change in proposal.plan.changes} == {"generation_config.json"}


def test_all_three_rules_append_once(tmp_path: Path) -> None:
    overlay = {**UNHEARD, "config.json": {"eos_token_id": 5}, "tokenizer_config.json": {"eos_token": "<|bos|>"}}
    proposal, folder = mend(tmp_path, overlay, unsafe=False, target=["vllm"])
    slugs = {fix.finding.slug for fix in proposal.plan.fixes}
    assert slugs == {"terminator-not-eos", "vllm-stop-ids", "eos-disagrees"}
    assert sorted(generation_config(folder)["eos_token_id"]) == [1, 3, 4, 5]
    assert generation_config(folder)["eos_token_id"][0] == 4


def test_a_missing_generation_config_says_what_config_json_said(tmp_path: Path) -> None:
    config = {"eos_token_id": 4, "temperature": 0.7, "do_sample": True, "bos_token_id": 1, "use_cache": False}
    overlay = {**UNHEARD, "generation_config.json": "null", "config.json": config}
    proposal, folder = mend(tmp_path, overlay, unsafe=False, select=["terminator-not-eos"])
    before, after = (loaded_model(path).generation_config.to_diff_dict() for path in (proposal.folder, folder))
    own = ("_from_model_config", "transformers_version")
    left, right = ({k: v for k, v in side.items() if k not in own} for side in (before, after))
    assert right == {**left, "eos_token_id": [4, 3]}


def test_generation_stops_at_the_terminator(tmp_path: Path) -> None:
    import torch

    # The head answers whatever comes with the turn's end.
    overlay = {
        **UNHEARD,
        "tensors.json": {"lm_head.weight": {"3": "ones"}, "model.norm.weight": ["BF16", [64], "ones"]},
    }
    proposal, folder = mend(tmp_path, overlay, unsafe=False, select=["terminator-not-eos"])
    lengths = []
    for path in (proposal.folder, folder):
        model = loaded_model(path)
        row = torch.zeros(64)
        with torch.no_grad():
            model.lm_head.weight.zero_()
            hidden = model.model(torch.tensor([[2, 60, 61]])).last_hidden_state[0, -1]
            row.copy_(hidden)
            model.lm_head.weight[3] = row
        made = model.generate(torch.tensor([[2, 60, 61]]), max_new_tokens=8, do_sample=False)
        lengths.append((made.shape[1] - 3, int(made[0, 3])))
    (before, first), (after, second) = lengths
    assert first == second == 3
    assert before > after == 1


REFUSED = {
    "no token": ({"chat_template.jinja": LOOP.replace("<|im_end|>", "[/turn]") + PROMPT}, "no token of its own"),
    "no model here": (
        {**UNHEARD, "config.json": "null", "generation_config.json": "null"},
        "where the model's files are",
    ),
    "a stop id without a row": ({**UNHEARD, "generation_config.json": {"eos_token_id": [4, 999]}}, "no row"),
}


@pytest.mark.parametrize(("overlay", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_stop_that_cannot_be_appended(overlay: dict[str, Any], reason: str, tmp_path: Path) -> None:
    proposal, folder = mend(tmp_path, overlay, select=["terminator-not-eos"])
    assert reason in proposal.plan.left_out[0].reason
    assert contents(folder) == contents(proposal.folder)


def test_an_ordinary_token_is_no_stop_id(tmp_path: Path) -> None:
    proposal, _ = mend(tmp_path, {"config.json": {"eos_token_id": 70}}, select=["eos-disagrees"])
    assert "ordinary token" in proposal.plan.left_out[0].reason
