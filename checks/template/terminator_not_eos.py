"""TPL004 terminator-not-eos."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.fact import Missing, NotApplicable
from modelcheck.facts.config import Config
from modelcheck.facts.conversations import Rendering, View
from modelcheck.facts.files import JsonObject, shorten
from modelcheck.facts.special_tokens import SpecialTokens, StopIds
from modelcheck.facts.vocabulary import Vocabulary, tokens_in
from modelcheck.finding import Finding, Severity

MARKER = re.compile(r"\s*(<\S+>|\[\S+\])")


@check("TPL004", severity=Severity.ERROR)
def terminator_not_eos(
    conversations: Mapping[str, Rendering],
    special_tokens: SpecialTokens,
    stop_ids: StopIds,
    vocabulary: Vocabulary | None = None,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
) -> Iterator[Finding]:
    """The token that ends the assistant's turn is not one at which generation stops.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: the model was trained to end its turn with the template's terminator. If that is neither the tokenizer's EOS
    nor in the `eos_token_id` of generation_config.json, generation runs past it: the model goes on to talk to itself
    until the length limit.

    Common causes:
        - The tokenizer keeps the base model's EOS, the template ends turns with another token. Solution: append the
          terminator's id to `eos_token_id` in generation_config.json; keep the old ids.
        - The template of another family was put on the model. Solution: use the family's own.

    Bad:
        ```json tokenizer_config.json
        {"eos_token": "<|reserved_0|>"}
        ```
        ```json config.json
        {"eos_token_id": 4}
        ```
        ```json generation_config.json
        {"eos_token_id": [4]}
        ```
    Good:
        ```json generation_config.json
        {"eos_token_id": [4, 3]}
        ```

    Traps: the EOS of the tokenizer and the list of generation_config.json both count (Gemma: `<eos>` and the turn's end
    in the list). A newline after the terminator, or an EOS behind it (Phi-3), is healthy; an assistant header left
    behind it is not looked at. In a folder that holds a tokenizer alone the list may be elsewhere: a warning.

    Fix safety: appending the terminator to the list in generation_config.json is safe; a missing file is written with
    what config.json had said, so that all of it stays in force. Replacing the tokenizer's EOS is not safe and not
    offered.

    Sources: unsloth#384, Qwen3#927, ms-swift#3113, LLaMA-Factory#7454, vllm PR #4182.
    """
    judge = _Judge(special_tokens, stop_ids, vocabulary, bare=config is None and generation_config is None)
    turns = [(rendering, view) for rendering in conversations.values() for view in rendering.views()]
    if all(view.after_assistant is None for _, view in turns):
        raise NotApplicable("no chat template prints an assistant message")
    blamed: set[str] = set()
    for rendering, view in turns:
        fault = judge.fault(view)
        if fault and rendering.name not in blamed:
            blamed.add(rendering.name)
            file, at = judge.place or (rendering.template.file, rendering.template.at)
            message = f"{rendering.subject}{view.under} ends an assistant turn with {fault[0]}"
            yield Finding(message, file, at, fault[1])


class _Judge:
    def __init__(self, special: SpecialTokens, stops: StopIds, vocabulary: Vocabulary | None, *, bare: bool) -> None:
        self.eos = special.content("eos_token")
        self.stops, self.vocabulary, self.bare = stops, vocabulary, bare
        self.names = {token.content for _, token in special} | {*(vocabulary.added if vocabulary else ())}

    @property
    def place(self) -> tuple[str, str] | None:
        """Where the stop list stands that lacks the terminator."""
        named = next(iter((*self.stops.generation, *self.stops.config, *self.stops.tokenizer)), None)
        return (named.file, named.at) if named else None

    def fault(self, view: View) -> tuple[str, Severity] | None:
        """What is wrong with how the turn ends, or None."""
        tail = view.after_assistant
        if tail is None or not tail.strip():  # the rule no-terminator
            return None
        tokens = tokens_in(tail, self.names)[: 1 if view.dangling_header else None]
        if any(token == self.eos or self._id(token) in self.stops.in_force for token in tokens):
            return None
        if self.vocabulary is None or not (tokens or self.vocabulary.complete):
            raise Missing("which token ends a turn cannot be told without tokenizer.json")
        severity = Severity.WARNING if self.bare else Severity.ERROR
        if tokens:
            return f"{tokens[0]!r} (id {self._id(tokens[0])}), {self._expected()}", severity
        if not MARKER.match(tail):
            severity = Severity.WARNING
        return f"{shorten(tail)}, which holds no special token, {self._expected()}", severity

    def _id(self, token: str) -> int | None:
        return self.vocabulary.id(token) if self.vocabulary else None

    def _expected(self) -> str:
        stops = [f"{stop.id} ({stop.file})" for stop in self.stops.in_force.values()]
        listed = f"one of the stop ids {', '.join(stops)}" if stops else "a stop token, of which there is none"
        return f"expected {listed}: generation does not stop when the model ends its turn"
