"""Messages to token ids, once for every backend: engines get ids, so that none of them renders its own prompt.

The renderer is that of `modelcheck lint`, equal to transformers' byte for byte and sandboxed; the label audit holds the
trainer's rows to the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from modelcheck import packs
from modelcheck.engine import Options
from modelcheck.errors import UsageError
from modelcheck.fact import Unavailable
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finetune.state import digest
from modelcheck.render.renderer import Renderer
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder

Conversation = Sequence[Mapping[str, Any]]
# All conversations of one request share the two seconds that a template may take.
TOGETHER = 100


class Prompts:
    """The prompts of one checkpoint; a context manager. Raises UsageError where it has no tokenizer or template.

    `template` is the text of a template in place of the checkpoint's own; `clock` is the moment (ISO) that a template
    sees which asks for the date, the same for both sides of a comparison.
    """

    def __init__(
        self,
        folder: Path,
        template: str | None = None,
        template_args: Mapping[str, Any] | None = None,
        clock: str | None = None,
    ) -> None:
        self.folder = folder
        self._renderer = Renderer()
        given = {**Options().given(), "renderer": self._renderer, "source": LocalFolder(folder)}
        self._facts = Resolver(packs.load().facts, given)
        self._args = dict(template_args or {})
        self._made: dict[str, list[tuple[str, list[int]]]] = {}
        self._clock = clock or datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
        try:
            self.tokenizer: Tokenizer = self._facts["tokenizer"]
            self._variables = {role: token.content for role, token in self._facts["special_tokens"].by_role.items()}
            self.template = template or self._own_template()
        except Unavailable as reason:
            self._renderer.close()
            raise UsageError(f"{folder}: no prompt can be made: {reason}") from None

    def _own_template(self) -> str:
        templates = self._facts["chat_template"]
        return str((templates.get("default") or next(iter(templates.values()))).text)

    def __enter__(self) -> Prompts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renderer.close()

    def texts(self, conversations: Iterable[Conversation], *, prompt: bool = True, **more: Any) -> list[str]:
        """Rendered conversations; with `prompt`, up to where the model goes on. `more` goes to the template (tools).

        Raises UsageError naming the first conversation on which the template raises.
        """
        asked = [
            {"messages": list(chat), "add_generation_prompt": prompt, "clock": self._clock, **self._args, **more}
            for chat in conversations
        ]
        return [text for start in range(0, len(asked), TOGETHER) for text in self._rendered(asked, start)]

    def _rendered(self, asked: Sequence[Mapping[str, Any]], start: int) -> Iterator[str]:
        answer = self._renderer.render(self.template, self._variables, asked[start : start + TOGETHER])
        if "outcomes" not in answer:
            reason = answer["killed"] if "killed" in answer else answer["error"]["message"]
            raise UsageError(f"{self.folder}: the chat template cannot be rendered: {reason}")
        for number, outcome in enumerate(answer["outcomes"], start=start + 1):
            if "error" in outcome:
                raise UsageError(
                    f"{self.folder}: the chat template raises on conversation {number}: {outcome['error']}"
                )
            yield outcome["text"]

    def made(self, conversations: Iterable[Conversation], **more: Any) -> list[tuple[str, list[int]]]:
        """The prompts of conversations, ending where the answer begins, as text and as ids; the same are made once."""
        asked = list(map(list, conversations))
        key = digest([asked, more])
        if key not in self._made:
            self._made[key] = [(text, self._encoded(text)) for text in self.texts(asked, **more)]
        return self._made[key]

    def ids(self, conversations: Iterable[Conversation], **more: Any) -> list[list[int]]:
        """The prompts of conversations as token ids alone."""
        return [ids for _, ids in self.made(conversations, **more)]

    def _encoded(self, text: str) -> list[int]:
        try:
            return self.tokenizer.encode(text)
        except Unavailable as reason:
            raise UsageError(f"{self.folder}: a conversation has no ids: {reason}") from None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids at which every engine is told to stop: those that transformers and vLLM would stop at by themselves.

        Empty where the checkpoint names none.
        """
        return tuple(sorted(self._facts["stop_ids"].in_force))

    @property
    def positions(self) -> int | None:
        """How many tokens, prompt and answer together, the checkpoint was made for, if its config says so."""
        limit: int | None = self._facts["config"].integer("max_position_embeddings", of_text=True)
        return limit

    def untrained(self, conversations: Iterable[Conversation]) -> tuple[int, ...]:
        """The ids in whole rendered conversations whose embedding rows the checkpoint surely never trained."""
        rows = self._facts["untrained"]
        used = {i for text in self.texts(conversations, prompt=False) for i in self._encoded(text)}
        return tuple(sorted(used & rows.certain))


def difference(base: Sequence[Sequence[int]], tuned: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """(prompt, position) of the first id in which two sides differ; None where they are equal."""
    for number, (left, right) in enumerate(zip(base, tuned, strict=True)):
        if list(left) != list(right):
            pairs = enumerate(zip(left, right, strict=False))
            return number, next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
    return None
