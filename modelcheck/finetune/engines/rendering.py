"""Whether a server sees the prompts that training saw: its token ids compared with ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice, zip_longest
from typing import Any

from modelcheck.finetune.chat import Chat, ChatError, Reply
from modelcheck.finetune.engines.answer import Prompt
from modelcheck.finetune.protocol import StageError

# Of prompts that are sent as ids: what chat clients of this server would get.
SAMPLED = 8
NO_TOKENIZE = "the server has no /tokenize for messages"
REMEDY = "serve it with the chat template that it was trained with, or with a server that takes token ids"


def same_ids(prompt: Prompt, reply: Reply) -> bool:
    """Whether an answer shows that the server took the ids as they are."""
    return reply.prompt_ids == list(prompt.ids) if reply.prompt_ids else reply.prompt_tokens == len(prompt.ids)


class Rendering:
    """A server's own rendering of messages. `template_args` are the arguments of the template, for both."""

    def __init__(self, chat: Chat, template_args: dict[str, Any], tokenizer: Any) -> None:
        self._chat, self._args, self._tokenizer = chat, template_args, tokenizer

    @property
    def fields(self) -> dict[str, Any]:
        """What a request of messages needs besides."""
        return {"chat_template_kwargs": self._args} if self._args else {}

    def check_length(self, prompt: Prompt, reply: Reply) -> None:
        """Raise StageError where the server says that its prompt had another length than ours."""
        if reply.prompt_tokens and reply.prompt_tokens != len(prompt.ids):
            raise StageError(
                f"the server renders another prompt than training did ({_start(prompt)}): it has {reply.prompt_tokens} "
                f"tokens there; {REMEDY}"
            )

    def compare(self, prompts: Collection[Prompt]) -> tuple[str, list[str]]:
        """How far prompts sent as messages could be checked (`ids`, `lengths`), and what to say of that.

        Raises StageError naming the first token that differs.
        """
        first, *others = prompts
        ids, why = self._tokenized(first)
        if ids is None:
            return "lengths", [f"prompt ids not checked: {why}; where it tells lengths they agree"]
        self._check(first, ids)
        unread = []
        for prompt, (ids, why) in self._chat.each(self._tokenized, others):
            if ids is None:
                unread.append(why)
            else:
                self._check(prompt, ids)
        if unread:
            which = f"{len(unread)} of {len(prompts)} prompts"
            return "lengths", [f"the ids of {which} not checked: {unread[0]}; where it tells lengths they agree"]
        return "ids", []

    def _check(self, prompt: Prompt, ids: Sequence[int]) -> None:
        if differs := self._difference(prompt.ids, ids):
            what = f"the server renders another prompt than training did ({_start(prompt)}): {differs}"
            raise StageError(f"{what}; {REMEDY}")

    def notes(self, prompts: Iterable[Prompt]) -> list[str]:
        """What chat clients of a server would get that itself was sent ids, where that is another prompt than ours."""
        for prompt in islice((p for p in prompts if p.messages), SAMPLED):
            ids, why = self._tokenized(prompt)
            if ids is None:
                return [f"what the server's own chat template makes of messages was not seen: {why}"]
            if differs := self._difference(prompt.ids, ids):
                return [f"the server's own chat template makes another prompt than training did: {differs}"]
        return []

    def _tokenized(self, prompt: Prompt) -> tuple[list[int] | None, str]:
        """The ids of messages by the server's `/tokenize`, beside its API; where there are none, why."""
        body: dict[str, Any] = {"model": self._chat.endpoint.model, "messages": list(prompt.messages), **self.fields}
        body |= {"tools": prompt.tools} if prompt.tools else {}
        root = self._chat.endpoint.base_url.removesuffix("/v1")
        try:
            ids = self._chat.post(f"{root}/tokenize", {**body, "add_generation_prompt": True}).get("tokens")
        except ChatError as error:
            if error.kind == "model":
                return None, NO_TOKENIZE
            if error.kind in ("request", "malformed", "server"):
                return None, f"the server's /tokenize failed ({error})"
            raise
        if isinstance(ids, list) and ids and all(type(i) is int for i in ids):
            return ids, ""
        # A server that only knows texts finds none in messages.
        return None, NO_TOKENIZE

    def _difference(self, ours: Sequence[int], theirs: Sequence[int]) -> str | None:
        pairs = enumerate(zip_longest(ours, theirs))
        return next((f"at token {at} {self._shown(b)} for {self._shown(a)}" for at, (a, b) in pairs if a != b), None)

    def _shown(self, token: int | None) -> str:
        return "the end" if token is None else f"{self._tokenizer.decode([token])!r} ({token})"


def _start(prompt: Prompt) -> str:
    return f"prompt of {len(prompt.ids)} tokens, {str(dict(prompt.messages[-1]).get('content'))[:60]!r}"
