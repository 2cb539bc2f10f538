"""Mending chat templates, and where generation stops behind what they write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from modelcheck.edit import Edit, Note
from modelcheck.facts.chat_template import Template
from modelcheck.facts.config import Config
from modelcheck.facts.conversations import Outcome, Rendering
from modelcheck.facts.files import Files, shorten
from modelcheck.facts.rows import Rows
from modelcheck.facts.special_tokens import SpecialTokens, StopIds
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.vocabulary import Vocabulary
from modelcheck.finding import Finding
from modelcheck.fixer import CannotFix, fixer
from modelcheck.names import JINJA
from modelcheck.render.renderer import Renderer
from modelcheck.render.sentinels import ASSISTANT
from modelcheck.target import Targets

from ._dates import without_date
from ._stops import GENERATION, appended, in_config_alone, terminators
from ._templates import blamed, proved, template_edits, write


@fixer("eos-disagrees", "terminator-not-eos", "vllm-stop-ids", safe=True)
def stop_there_too(
    finding: Finding,
    files: Files,
    stop_ids: StopIds,
    special_tokens: SpecialTokens,
    vocabulary: Vocabulary,
    config: Config | None = None,
    rows: Rows | None = None,
    conversations: Mapping[str, Rendering] | None = None,
) -> Iterator[Edit]:
    """Append what ends a turn to the stop ids of generation_config.json, and keep the others."""
    eos, listed = ({s.id for s in ids} for ids in (stop_ids.tokenizer, stop_ids.generation or stop_ids.config))
    if finding.slug == "eos-disagrees":
        wanted = [*(eos - listed), *in_config_alone(stop_ids, vocabulary)]
    else:
        if finding.slug == "vllm-stop-ids" and GENERATION in files:
            listed = {stop.id for stop in stop_ids.generation}  # vLLM does not look into config.json then
        wanted = [*terminators(conversations or {}, special_tokens, vocabulary, eos | listed)]
    if beyond := [number for number in (*wanted, *listed) if rows and number >= rows.number]:
        raise CannotFix(f"there is no row for the stop id {beyond[0]}; take it out of eos_token_id by hand")
    yield from appended(wanted, files, stop_ids, config)


@fixer("two-template-sources", safe=True)
def write_one_template_into_both(template_places: Sequence[tuple[str, Template]], target: Targets) -> Iterator[Edit]:
    """Write the template of chat_template.jinja into tokenizer_config.json too."""
    if target.includes("llama.cpp", "ollama", "tgi") and not target.includes("transformers", "trl", "vllm"):
        raise CannotFix(
            "what you named with --target reads tokenizer_config.json, and would then get another prompt: remove "
            f"{JINJA}, or name the runtime that reads it as well"
        )
    of_files = {name: place.text for name, place in template_places if place.at is None}
    for name, place in template_places:
        if place.file == "tokenizer_config.json" and name in of_files:
            yield write(place, of_files[name])
    yield Note(f"the other template is lost: if it is the one that is meant, remove {JINJA} instead")


@fixer("generation-prompt-ignored", safe=False)
def open_the_answer_when_asked(
    finding: Finding,
    conversations: Mapping[str, Rendering],
    template_places: Sequence[tuple[str, Template]],
    special_tokens: SpecialTokens,
    renderer: Renderer,
) -> Iterator[Edit]:
    """Append a block that opens the assistant's turn where add_generation_prompt is set."""
    from modelcheck.render.plan import CONVERSATIONS

    rendering = blamed(finding, conversations)
    if any(view.dangling_header for view in rendering.views()):
        raise CannotFix(
            "the header is printed always: put it into {% if add_generation_prompt %} ... {% endif %} by hand"
        )
    user, chat = rendering.text("user") or "", rendering.text("chat") or ""
    header = chat[len(user) :].partition(ASSISTANT)[0]
    if not chat.startswith(user) or ASSISTANT not in chat[len(user) :] or not header.strip():
        raise CannotFix("what stands before an answer is not added behind the user's turn; write the block by hand")
    block = "{% if add_generation_prompt %}{{ " + json.dumps(header, ensure_ascii=False) + " }}{% endif %}"
    text = rendering.template.text.removesuffix("\n")
    text += block + rendering.template.text[len(text) :]

    def expected(outcome: Outcome, before: str) -> str:
        return before + header if CONVERSATIONS.get(outcome.name, {}).get("add_generation_prompt") else before

    if not proved(rendering, text, special_tokens, renderer, expected):
        raise CannotFix("a block behind the template would change more than the prompt's end; write it by hand")
    yield from template_edits(rendering.template, text, template_places)
    yield Note(f"with add_generation_prompt=True a prompt now ends with {shorten(header)}, all else is as it was")


@fixer("template-date", "template-date-frozen", safe=False)
def take_the_date_out(
    finding: Finding,
    conversations: Mapping[str, Rendering],
    template_places: Sequence[tuple[str, Template]],
    special_tokens: SpecialTokens,
    renderer: Renderer,
) -> Iterator[Edit]:
    """Take the sentence with the date out of the template; a date that the caller passes is still written."""
    from modelcheck.render.plan import CONVERSATIONS

    rendering = blamed(finding, conversations)
    change = without_date(rendering.template.text)

    def expected(_: Outcome, before: str) -> str:
        return change.sentence.sub("", before)

    if not proved(rendering, change.text, special_tokens, renderer, expected):
        raise CannotFix("the sentence with the date cannot be taken out without changing more; edit it by hand")
    if change.variable:
        asked = [{**CONVERSATIONS["prompt"], change.variable: "ZD1"}]
        variables = {role: token.content for role, token in special_tokens.by_role.items()}
        texts = (rendering.template.text, change.text)
        old, new = (renderer.render(text, variables, asked)["outcomes"] for text in texts)
        if old != new:
            raise CannotFix(f"a template without the date would write {change.variable} otherwise; edit it by hand")
    yield from template_edits(rendering.template, change.text, template_places)
    more = f", unless the caller passes {change.variable}" if change.variable else ""
    yield Note(f"the prompt no longer has {shorten(change.shown)} in it{more}")


@fixer("double-bos", safe=False)
def leave_the_bos_to_the_tokenizer(
    finding: Finding,
    target: Targets,
    conversations: Mapping[str, Rendering],
    template_places: Sequence[tuple[str, Template]],
    special_tokens: SpecialTokens,
    tokenizer: Tokenizer,
    renderer: Renderer,
) -> Iterator[Edit]:
    """Take the BOS out of the chat template, for runtimes that add it to rendered text."""
    if not target.includes("llama.cpp", "ollama") or target.includes("transformers", "trl", "vllm"):
        raise CannotFix(
            "transformers is right as it is (apply_chat_template adds none): encode rendered text with "
            "add_special_tokens=False; for a copy to export, name --target llama.cpp or ollama alone"
        )
    rendering = blamed(finding, conversations)
    bos, old = special_tokens.content("bos_token"), rendering.template.text
    if bos is None or tokenizer.prefix != (tokenizer.id(bos),):
        raise CannotFix("what the tokenizer adds is not the bos_token alone; take it out of the template by hand")
    for text in ('{%- set bos_token = "" -%}' + old.lstrip(), old.replace(bos, "", 1)):
        if proved(rendering, text, special_tokens, renderer, lambda _, before: before.removeprefix(bos)):
            yield from template_edits(rendering.template, text, template_places)
            yield Note(
                f"llama.cpp and Ollama add {bos!r} themselves; apply_chat_template now sends none: for export only"
            )
            return
    raise CannotFix(f"the template writes {bos!r} in other places too; take the first one out by hand")
