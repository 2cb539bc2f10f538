"""One client for every server of the OpenAI kind, over the `openai` package, which repeats what failed in passing.

It honours Retry-After up to two minutes. Answers are taken as text and read here: a server that answers something else
than it should is told in words, and a key that a server repeats is taken out before anything is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from modelcheck.finetune.chat.endpoint import ChatError, Endpoint
from modelcheck.finetune.chat.failures import Failures
from modelcheck.finetune.secrets import HIDDEN

Body = dict[str, Any]
Item = TypeVar("Item")
Made = TypeVar("Made")
MODELS = "models"
# What is shorter keeps no secret, and may well be a word of an answer: local servers are given "none" or "EMPTY".
SECRET_LENGTH = 12
# Token ids lie below.
IDS = 1 << 32
# How servers call the end of an answer that has no room left.
CUT = ("length", "max_tokens")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `finish` is the server's word (`stop`, `length`, ...), None where it gave none.

    `calls` are those of tools that the server has read out of the answer, in whatever form it gives them.
    `ids` are the tokens of the answer and `prompt_ids` those of the prompt, where the server tells them;
    `prompt_tokens` and `tokens` are its counts, `model` its name for who answered. `choice` is everything that
    it said of this answer.
    """

    text: str
    finish: str | None
    choice: Mapping[str, Any] = field(default_factory=dict)
    calls: Sequence[Any] = ()
    ids: list[int] | None = None
    prompt_ids: list[int] | None = None
    prompt_tokens: int | None = None
    tokens: int | None = None
    model: str | None = None

    @property
    def cut(self) -> bool:
        """Whether it ended where its room did."""
        return self.finish in CUT


class Chat:
    """A client; a context manager. Raises ChatError, one line and without the key, whatever goes wrong.

    `direct` is for a server on this machine that we started ourselves: no proxy stands between.
    """

    def __init__(self, endpoint: Endpoint, *, direct: bool = False) -> None:
        try:
            import openai
        except ImportError:
            raise ChatError("asking a server needs the openai package: install modelcheck[openai]", "key") from None
        from modelcheck.finetune.chat.transport import hooks

        self.endpoint, self._key = endpoint, endpoint.key()
        self._secret = _as_json(self._key) if self._key and len(self._key) >= SECRET_LENGTH else None
        self._failures = Failures(endpoint, self.redacted)
        # Without a key of its own the package would take OPENAI_API_KEY, and send it to any server.
        self._options: Any = {} if self._key else {"headers": {"Authorization": openai.Omit()}}
        self._client = openai.OpenAI(
            api_key=self._key or "none",
            base_url=endpoint.base_url,
            timeout=endpoint.timeout,
            max_retries=endpoint.max_retries,
            http_client=openai.DefaultHttpxClient(trust_env=not direct, event_hooks=hooks(endpoint.timeout)),
        )

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back its connections."""
        self._client.close()

    def ask(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> Reply:
        """The answer to messages. `parameters` are those of the API; what is None is left out."""
        return self._reply("chat/completions", {"messages": list(messages)}, parameters)

    def complete(self, prompt: Sequence[int] | str, **parameters: Any) -> Reply:
        """What goes on after a prompt, of token ids where the server takes those."""
        return self._reply("completions", {"prompt": prompt if isinstance(prompt, str) else list(prompt)}, parameters)

    def models(self) -> list[str] | None:
        """The names of the models that the server has; None where it does not say."""
        try:
            return [str(model["id"]) for model in self.get(MODELS, max_retries=0)["data"]]
        except (ChatError, KeyError, TypeError):
            return None

    def each(self, ask: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """(item, what `ask` made of it), `concurrency` at a time and in the order in which they are ready.

        The first error ends it: what has not begun is not asked, what is under way is waited for.
        """
        pool = ThreadPoolExecutor(self.endpoint.concurrency, thread_name_prefix="chat")
        asked = {pool.submit(ask, item): item for item in items}
        try:
            for future in as_completed(asked):
                yield asked.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def get(self, path: str, **options: Any) -> Body:
        """What a GET of a path below `base_url`, or of a whole address, answers. `options` are those of `openai`."""
        return self._read(path, lambda: self._client.get(path, cast_to=str, options=self._options | options))

    def post(self, path: str, body: Mapping[str, Any], **options: Any) -> Body:
        """What a POST answers."""
        made: Any = self._options | options
        return self._read(path, lambda: self._client.post(path, cast_to=str, body=dict(body), options=made))

    def redacted(self, text: str) -> str:
        """A text, of JSON too, without the key."""
        return self._secret.sub(HIDDEN, text) if self._secret else text

    def _read(self, path: str, send: Callable[[], str]) -> Body:
        import openai

        try:
            text = self.redacted(send())
        except openai.OpenAIError as error:
            # Without what it was caused by: that may hold the header with the key.
            raise self._failures.of(error, path, self.models if path != MODELS else lambda: None) from None
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            raise self._failures.malformed(path, "is no JSON", text) from None
        if not isinstance(answer, dict):
            raise self._failures.malformed(path, "is no JSON object", text)
        return answer

    def _reply(self, path: str, asked: Body, parameters: Mapping[str, Any]) -> Reply:
        given = {name: value for name, value in parameters.items() if value is not None}
        body = {**self.endpoint.extra_body, "model": self.endpoint.model, **asked, **given}
        answer = self.post(path, body)
        try:
            return _reply(answer)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise self._failures.malformed(path, "holds no answer", json.dumps(answer)) from None


def _as_json(key: str) -> re.Pattern[str]:
    r"""The key as JSON may write it: any character of it as it stands, behind `\`, or as `\u` and its number."""
    return re.compile("".join(rf"\\*(?:{re.escape(sign)}|(?<=\\)u(?i:{ord(sign):04x}))" for sign in key))


def _reply(answer: Body) -> Reply:
    """The first choice of an answer. Raises whatever it lacks."""
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    message = choice.get("message") or {} if "text" in choice else choice["message"]
    # What a model says in place of an answer, some servers put into a field of its own.
    text = choice["text"] if "text" in choice else message.get("content") or message.get("refusal")
    if not isinstance(text, str | None):
        raise TypeError
    calls = message.get("tool_calls") or []
    model = answer.get("model")
    return Reply(
        # Half a character, as of a model that was cut in the middle of one, is nothing that can be tokenised.
        text=(text or "").encode("utf-8", "replace").decode(),
        calls=calls if isinstance(calls, list) else [calls],
        finish=choice.get("finish_reason"),
        choice=choice,
        ids=_ids(choice.get("token_ids")),
        # vLLM puts them beside the text of a completion, and beside the choices of a chat.
        prompt_ids=_ids(choice.get("prompt_token_ids") or answer.get("prompt_token_ids")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        tokens=_count(usage.get("completion_tokens")),
        model=model if isinstance(model, str) else None,
    )


def _ids(value: Any) -> list[int] | None:
    return value if isinstance(value, list) and all(type(i) is int and 0 <= i < IDS for i in value) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int else None
