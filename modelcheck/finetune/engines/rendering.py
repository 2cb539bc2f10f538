"""Whether a server sees the prompts that training saw: its token ids compared with ours."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

from modelcheck.finetune.chat import Chat, ChatError, Reply
from modelcheck.finetune.chat.abilities import ASKED, Probe
from modelcheck.finetune.engines.answer import Prompt
from modelcheck.finetune.protocol import StageError

# Of prompts that are sent as ids: what chat clients of this server would get.
SAMPLED = 8
NO_TOKENIZE = "the server has no /tokenize for messages"
# An argument that many templates know (Qwen3, SmolLM3, GLM-4.5), for jobs that set none.
CUSTOMARY: Mapping[str, Any] = {"enable_thinking": True}
REMEDY = "serve it with the chat template that it was trained with, or with a server that takes token ids"
BY_LENGTH = "where it tells lengths they agree"
UNSEEN = (
    "template_args not checked: whether the server heeds chat_template_kwargs cannot be seen in what it tells of its "
    "prompts"
)


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

    def heeds(self, first: Prompt, probe: Probe) -> bool | None:
        """Whether arguments of the template reach it: other values of them make another prompt.

        The job's are tried on `first`. None where it cannot be seen: nothing is told of the server's prompts, or they
        are ours under any value.
        """
        given, asked = (self._args, first) if self._args else (CUSTOMARY, Prompt((), ASKED))
        others = {name: not value for name, value in given.items() if isinstance(value, bool)}

        def look() -> bool | None:
            one, other = (self._told(asked, arguments, probe) for arguments in (given, others))
            if one is None or other is None:
                return None
            if one != other:
                return True
            ours = list(asked.ids) if isinstance(one, list) else len(asked.ids)
            return False if self._args and one != ours else None

        return probe.outcome(look) if asked.messages else None

    def _told(self, prompt: Prompt, arguments: Mapping[str, Any], probe: Probe) -> list[int] | int | None:
        """A prompt's ids or their number, as far as the server tells either."""
        ids, _ = self._tokenized(prompt, arguments)
        if ids is not None:
            return ids
        reply = probe.ask(prompt.messages, tools=prompt.tools, chat_template_kwargs=dict(arguments))
        return reply.prompt_tokens or None

    def check_length(self, prompt: Prompt, reply: Reply) -> None:
        """Raise StageError where the server says that its prompt had another length than ours."""
        if reply.prompt_tokens and reply.prompt_tokens != len(prompt.ids):
            raise StageError(
                f"the server renders another prompt than training did ({_start(prompt)}): it has {reply.prompt_tokens} "
                f"tokens there; {REMEDY}"
            )

    def compare(self, prompts: Collection[Prompt], heeds: bool | None) -> tuple[str, list[str]]:
        """How far prompts sent as messages could be checked (`ids`, `lengths`), and what to say of that.

        `heeds` is what was found of the template's arguments. Raises StageError where the job's are ignored, or naming
        the first token that differs.
        """
        if self._args and heeds is False:
            raise StageError(
                f"the server does not heed chat_template_kwargs, so eval.template_args = {json.dumps(self._args)} does "
                "not reach its chat template (it refuses them, or makes the same prompt under other values, and not "
                f"ours): give it these as its own defaults, or {REMEDY}"
            )
        first, *others = prompts
        ids, why = self._tokenized(first, self._args)
        if ids is None:
            unseen = [UNSEEN] if self._args and heeds is None else []
            return "lengths", [f"prompt ids not checked: {why}; {BY_LENGTH}", *unseen]
        self._check(first, ids)
        unread = []
        for prompt, (ids, why) in self._chat.each(lambda prompt: self._tokenized(prompt, self._args), others):
            if ids is None:
                unread.append(why)
            else:
                self._check(prompt, ids)
        if unread:
            which = f"{len(unread)} of {len(prompts)} prompts"
            return "lengths", [f"the ids of {which} not checked: {unread[0]}; {BY_LENGTH}"]
        return "ids", []

    def _check(self, prompt: Prompt, ids: Sequence[int]) -> None:
        if differs := self._difference(prompt.ids, ids):
            what = f"the server renders another prompt than training did ({_start(prompt)}): {differs}"
            raise StageError(f"{what}; {REMEDY}")

    def notes(self, prompts: Iterable[Prompt]) -> list[str]:
        """What chat clients of a server would get that itself was sent ids, where that is another prompt than ours."""
        for prompt in islice((p for p in prompts if p.messages), SAMPLED):
            ids, why = self._tokenized(prompt, self._args)
            if ids is None:
                return [f"what the server's own chat template makes of messages was not seen: {why}"]
            if differs := self._difference(prompt.ids, ids):
                return [f"the server's own chat template makes another prompt than training did: {differs}"]
        return []

    def _tokenized(self, prompt: Prompt, arguments: Mapping[str, Any]) -> tuple[list[int] | None, str]:
        """The ids of messages by the server's `/tokenize`, beside its API; where there are none, why."""
        body: dict[str, Any] = {"model": self._chat.endpoint.model, "messages": list(prompt.messages)}
        body |= {"chat_template_kwargs": dict(arguments)} if arguments else {}
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
