"""Answers by a server of the OpenAI kind.

Prompts go as token ids where it takes those, else as messages, and what it makes of those is compared with our ids.
It is asked what it can before it is trusted: what it ignores or refuses stands in the identity, or ends the stage.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelcheck.finetune.chat import Chat, ChatError, Endpoint, Reply
from modelcheck.finetune.chat.abilities import WORD, Probe, grammar_fields
from modelcheck.finetune.chat.pinning import Pinned, negotiated, verify
from modelcheck.finetune.engines.answer import RETOKENISED, Answer, Prompt, read
from modelcheck.finetune.engines.rendering import Rendering, same_ids
from modelcheck.finetune.engines.seeds import seed_of
from modelcheck.finetune.identity import identity_of_files
from modelcheck.finetune.job import Generation
from modelcheck.finetune.protocol import StageError

# Seeds of 32 bits without sign are taken everywhere.
SEEDS = 1 << 31
# Where servers put thinking that they read out of an answer.
REASONING = ("reasoning_content", "reasoning")
# How servers call an answer that ended by itself.
STOPPED = ("stop", "tool_calls", "function_call", "eos", "eos_token", "stop_sequence")
UNTOLD = (
    "the server does not tell why answers end (finish_reason): all count as stopped by themselves, whether they were "
    "cut or not"
)
WISHES = {"skip_special_tokens": False, "return_token_ids": True}


class Engine:
    """The checkpoint in `folder` as a server answers for it. `{model}` in the endpoint's model becomes the folder.

    Without a folder it is another model, which goes by its own template and tokenizer: nothing is compared then.
    `direct`: the server is one that we started.
    """

    def __init__(
        self,
        folder: str | None,
        dtype: str,  # noqa: ARG002  the server's business
        endpoint: Mapping[str, Any],
        template_args: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        *,
        direct: bool = False,
    ) -> None:
        self._folder, self._grammar = Path(folder) if folder else None, grammar
        self.tokenizer: Any = _tokenizer(folder) if folder else None
        told = Endpoint(**endpoint)
        model = told.model.replace("{model}", folder) if folder else told.model
        self._chat, self._direct = Chat(dataclasses.replace(told, model=model), direct=direct), direct
        # One that goes by the name in a request, and has no such model.
        absent = told.model.replace("{model}", f"{folder}/{WORD}")
        self._absent = dataclasses.replace(told, model=absent, max_retries=0) if folder and absent != model else None
        self._rendering = Rendering(self._chat, dict(template_args or {}), self.tokenizer)
        self.identity = (identity_of_files(self._folder, self.tokenizer) if self._folder else {}) | {
            "dtype": None,
            "class": None,
            "quantized": None,
            "server": {"base_url": told.base_url, "model": self._chat.endpoint.model, "extra_body": told.extra_body},
        }

    def answers(
        self, prompts: Mapping[str, Prompt], gen: Generation, stop_ids: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """Answers as they come. What the server turned out to be is in `identity` with the first of them."""
        if not prompts:
            return
        put, pinned = self._agreed(prompts, gen, stop_ids)

        def ask(key: str) -> Answer:
            reply = put(prompts[key], **pinned.body(seed_of(key, gen.seed) % SEEDS))
            return dataclasses.replace(self._answer(key, reply, gen, stop_ids), apart=_is_apart(reply))

        ready: list[Answer] = []
        for _, answer in self._chat.each(ask, sorted(prompts, key=lambda key: -len(prompts[key].ids))):
            ready.append(answer)
            if len(ready) >= self._chat.endpoint.concurrency:
                yield ready
                ready = []
        if ready:
            yield ready

    def close(self) -> None:
        """The server is not ours to end."""
        self._chat.close()

    def _agreed(
        self, prompts: Mapping[str, Prompt], gen: Generation, stop_ids: Sequence[int]
    ) -> tuple[Callable[..., Reply], Pinned]:
        """How prompts are put to this server, and with what. Fills the identity."""
        first, probe = next(iter(prompts.values())), Probe(self._chat.ask)
        self._check_names()
        able = {**probe.abilities(), "chat_template_kwargs": self._rendering.heeds(first, probe)}
        needed = self._constraint(able["grammar"])
        agreed = self._by_ids(first, gen, stop_ids, needed) if self._folder else None
        if agreed:
            put, way, checked = self._put_ids, "ids", "ids"
            notes = self._rendering.notes(prompts.values())
        else:
            checked, notes = self._compared(prompts.values(), able["chat_template_kwargs"])
            put, way = (self._put_measured if checked == "lengths" else self._put_messages), "messages"
            needed |= self._rendering.fields
            agreed = self._negotiated(put, first, gen, stop_ids, needed)
        pinned, reply = agreed
        if lacking := sorted(needed.keys() & pinned.refused):
            raise StageError(
                f"the server refuses {', '.join(lacking)}, which this job needs: serve with another server"
            )
        verify(lambda **fields: put(first, **fields), pinned)
        self.identity["server"]["told"] = None if self._direct else reply.model
        self.identity |= {
            "abilities": able,
            "prompts": {"sent": way, "checked": checked},
            "answer_ids": self._ids_are(reply),
            "pinned": pinned.fixed,
            "refused": sorted(pinned.refused),
            "notes": [*notes, *pinned.notes, *[UNTOLD] * (reply.finish is None)],
        }
        return put, pinned

    def _check_names(self) -> None:
        """Raise StageError where a server that runs answers for a model that is not there: it would for both sides."""
        if self._direct or self._absent is None:
            return
        with suppress(ChatError), Chat(self._absent) as chat:
            if Probe(chat.ask).answers:
                raise StageError(
                    f"{self._absent.base_url}: answers for the model {self._absent.model!r}, which is not there, "
                    "expected a refusal: it has one model whatever name a request gives, and base and tuned model "
                    "would be that one: let serve start it for each, or name one that loads what a request names"
                )

    def _by_ids(
        self, first: Prompt, gen: Generation, stop_ids: Sequence[int], needed: Mapping[str, Any]
    ) -> tuple[Pinned, Reply] | None:
        """What was agreed with a server that takes prompts of token ids as they are; None where it does not."""
        try:
            pinned, reply = self._negotiated(self._put_ids, first, gen, stop_ids, needed)
        except ChatError as refusal:
            if refusal.kind in ("request", "model", "malformed", "server"):
                return None
            raise
        return (pinned, reply) if same_ids(first, reply) else None

    def _negotiated(
        self,
        put: Callable[..., Reply],
        first: Prompt,
        gen: Generation,
        stop_ids: Sequence[int],
        needed: Mapping[str, Any],
    ) -> tuple[Pinned, Reply]:
        wanted = {**WISHES, **needed}
        return negotiated(lambda **fields: put(first, **fields), gen, stop_ids, wanted, self._defaults())

    def _compared(self, prompts: Collection[Prompt], heeds: bool | None) -> tuple[str, list[str]]:
        if not all(prompt.messages for prompt in prompts):
            raise StageError("the server takes no prompts of token ids, and there are no messages to send instead")
        if self._folder is None:
            return "nothing", ["prompt ids not checked: another model than the job's"]
        return self._rendering.compare(prompts, heeds)

    def _put_ids(self, prompt: Prompt, **fields: Any) -> Reply:
        return self._chat.complete(prompt.ids, **fields)

    def _put_messages(self, prompt: Prompt, **fields: Any) -> Reply:
        return self._chat.ask(prompt.messages, tools=prompt.tools, **fields)

    def _put_measured(self, prompt: Prompt, **fields: Any) -> Reply:
        reply = self._put_messages(prompt, **fields)
        self._rendering.check_length(prompt, reply)
        return reply

    def _constraint(self, way: str | bool | None) -> dict[str, Any]:
        if self._grammar is None:
            return {}
        if not isinstance(way, str):
            raise StageError(
                "eval.grammar: the server holds its answers to no grammar: serve with vLLM, llama.cpp or SGLang"
            )
        return grammar_fields(self._grammar)[way]

    def _defaults(self) -> dict[str, Any]:
        """What the checkpoint would have servers fill in."""
        if self._folder is None:
            return {}
        try:
            found = json.loads((self._folder / "generation_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _answer(self, key: str, reply: Reply, gen: Generation, stop_ids: Sequence[int]) -> Answer:
        if reply.finish == "content_filter":
            raise StageError(f"the server's content filter withheld the answer to {key}: serve the model without one")
        if not (reply.cut or reply.finish is None or reply.finish in STOPPED):
            raise StageError(
                f"the server ended the answer to {key} with finish_reason {reply.finish!r}, expected stop or length: "
                "it is no whole answer: look into the server's log"
            )
        finish = "length" if reply.cut else "stop"
        if reply.ids is not None and self._folder:
            return dataclasses.replace(read(key, reply.ids, self.tokenizer, gen.stop, stop_ids), finish=finish)
        text = reply.text + "".join(map(_called, reply.calls))
        text = text[: min((at for stop in gen.stop if (at := text.find(stop)) >= 0), default=None)]
        if self._folder is None:
            return Answer(key, [], text, finish, {"read": reply.prompt_tokens, "written": reply.tokens})
        return Answer(key, self.tokenizer.encode(text, add_special_tokens=False), text, finish)

    def _ids_are(self, reply: Reply) -> str | None:
        if self._folder is None:
            return None
        return "the server's" if reply.ids is not None else RETOKENISED


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise StageError(f"{folder}: its tokenizer cannot be loaded: {error}") from error


def _is_apart(reply: Reply) -> bool:
    """Whether the server has read the thinking out of the text; the ids of an answer still hold it."""
    message = reply.choice.get("message")
    return reply.ids is None and isinstance(message, Mapping) and any(message.get(name) for name in REASONING)


def _called(call: Any) -> str:
    """A call that the server has read out of the answer, put back as most templates write it."""
    function = call.get("function") if isinstance(call, Mapping) else None
    # What is no call of a function is put back as it stands: that it is none is for the scorer to find.
    made = call
    if isinstance(function, Mapping):
        made = {"name": function.get("name"), "arguments": function.get("arguments")}
        with suppress(TypeError, ValueError, RecursionError):  # and so is what is no JSON
            made["arguments"] = json.loads(made["arguments"])
    text = json.dumps(made, ensure_ascii=False).encode("utf-8", "replace").decode()
    return f"<tool_call>\n{text}\n</tool_call>"
