"""The settings of a server in a job file: whether they let models be evaluated, and keep keys out of files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.finetune.chat import ENDPOINT_KEYS, ChatError, Endpoint
from modelcheck.finetune.job import Eval, OpenAi, Serve
from modelcheck.finetune.kinds import DURATION, TEXT, TEXT_MAPPING, Reader, Table, listed
from modelcheck.finetune.toml_lines import Place

KEY_FLAG = re.compile(r"--?api[-_]key(=.*)?")


def _server(
    base_url: str = "",
    model: str = "{model}",
    serve: tuple[str, ...] = (),
    serve_env: Mapping[str, str] | None = None,
    serve_timeout: float = 600.0,
    **endpoint: Any,
) -> OpenAi:
    started = Serve(serve, serve_env or {}, serve_timeout) if serve else None
    return OpenAi(Endpoint(base_url, model, **endpoint), started)


SERVER = Table(
    _server,
    {**ENDPOINT_KEYS, "serve": listed(TEXT, least=1), "serve_env": TEXT_MAPPING, "serve_timeout": DURATION},
)


def check(server: OpenAi, reader: Reader, at: Place) -> None:
    """Note what a job file cannot mean by a server of both models. Values are not repeated: they may be keys."""
    if _is_one_way(server, reader, at) and server.serve is None and "{model}" not in server.endpoint.model:
        reader.say(
            at,
            "a server that runs serves one model, and a job evaluates the base and what becomes of it: let serve start "
            'it for each, or say model = "{model}" if it loads any folder that a request names',
        )
    _check_words(server, ("{port}", "{model}"), reader, (*at, "serve"))


def check_arm(server: OpenAi, reader: Reader, at: Place) -> None:
    """Note what a job file cannot mean by a server of one other model."""
    named = "{model} stands for a folder of the job, and this arm has a model of its own: name that"
    if _is_one_way(server, reader, at) and "{model}" in server.endpoint.model:
        reader.say((*at, "model"), named)
    _check_words(server, ("{port}",), reader, (*at, "serve"))
    if server.serve and any("{model}" in word for word in server.serve.words):
        reader.say((*at, "serve"), named)


def _is_one_way(server: OpenAi, reader: Reader, at: Place) -> bool:
    """Whether it is said once how to reach it; noted where it is not."""
    if one := bool(server.endpoint.base_url) != bool(server.serve):
        return one
    reader.say(at, "expected either serve (a command that starts a server) or base_url (of one that runs)")
    return False


def _check_words(server: OpenAi, names: tuple[str, ...], reader: Reader, at: Place) -> None:
    words = server.serve.words if server.serve else ()
    for name in names if words else ():
        if not any(name in word for word in words):
            reader.say(at, f"no word holds {name}, which stands for what the server is to be given")
    if any(KEY_FLAG.fullmatch(word) for word in words):
        reader.say(at, "a key in a job file is not taken: let the server read it from its environment, or leave it out")


def problems(evaluation: Eval, place: str = "eval") -> Iterator[str]:
    """What would keep the engine from its server, without asking it; `place` begins the messages."""
    server = evaluation.openai
    if server is None or evaluation.backend != "openai":
        return
    name, serve = server.endpoint.api_key_env, server.serve
    for table, given in (("env", evaluation.env), ("openai.serve_env", serve.env if serve else {})):
        if name in given:
            yield f"{place}.{table}: holds {name}, a key in a job file: leave it out, and set it where the job is run"
    try:
        server.endpoint.key()
    except ChatError as error:
        yield f"{place}.openai: {error}"
    path = {**os.environ, **evaluation.env, **(serve.env if serve else {})}.get("PATH")
    if serve and not shutil.which(serve.words[0], path=path):
        yield f"{place}.openai.serve: {serve.words[0]!r} is no program: name one that is there"
