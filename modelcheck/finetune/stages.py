"""What a worker can be asked: {stage: function of (request, emit)}. Requests and answers are what JSON can hold.

Every request names its `stage`. `recipe` is `Recipe.plain()`; `prompts` are token ids; paths are absolute.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any

from .engines import Engine, Prompt, open_engine
from .job import Generation
from .protocol import Emit
from .recipe import Recipe

Request = Mapping[str, Any]
Stage = Callable[[Request, Emit], Any]
# What is open in this process until it ends.
_open = ExitStack()


def audit(request: Request, emit: Emit) -> Any:
    """`recipe`, `out`, `prompts` of the first rows, `stop_ids`: the labels and what would learn; nothing is trained."""
    from .trainers.audit import audit as run

    recipe = Recipe.read(request["recipe"])
    return run(recipe, Path(request["out"]), emit, request.get("prompts", ()), request.get("stop_ids", ()))


def arguments(request: Request, _: Emit) -> Any:
    """`recipe`: what is wrong with its `train.args`, as (key, what)."""
    from .trainers.arguments import problems

    return {"problems": [*problems(Recipe.read(request["recipe"]))]}


def machine(_: Request, __: Emit) -> Any:
    """`packages`, {distribution: version} of this interpreter, and `gpus`, their names as torch tells them."""
    from importlib.metadata import distributions

    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {"packages": dict(sorted(packages.items())), "gpus": _gpus()}


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:  # the interpreter of a server's client
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def train(request: Request, emit: Emit) -> Any:
    """`recipe`, `evaluated` (the identity of the evaluated base, or null): trains, or resumes, and saves."""
    from .trainers.trl import train as run

    return run(Recipe.read(request["recipe"]), emit, request.get("evaluated"))


def rehearse(request: Request, emit: Emit) -> Any:
    """`recipe`, `folder`, `prompts`, `evaluated`: two steps, and what they saved."""
    from .rehearse import rehearse as run

    recipe = Recipe.read(request["recipe"])
    return run(recipe, Path(request["folder"]), request["prompts"], emit, request.get("evaluated"))


def generate(request: Request, emit: Emit) -> Any:
    """`folder` (or null), `dtype`, `engine`, `prompts` ({key: Prompt}), `gen`, `stop_ids`: a `batch` event for each.

    `loaded` is sent before the first answer; the answer is the number of answers and the identity.
    """
    prompts, done = {key: Prompt(**prompt) for key, prompt in request["prompts"].items()}, 0
    engine = _engine(request["folder"], request["dtype"], json.dumps(request["engine"]))
    for batch in engine.answers(prompts, generation(request["gen"]), request["stop_ids"]):
        if not done:
            emit("loaded", **engine.identity)
        done += len(batch)
        emit("batch", answers=[dataclasses.asdict(answer) for answer in batch], done=done, total=len(prompts))
    return {"answers": done, "loaded": engine.identity}


@cache
def _engine(folder: str | None, dtype: str, settings: str) -> Engine:
    """The engine of this process: further requests to the same model find it loaded."""
    return _open.enter_context(closing(open_engine(folder, dtype, json.loads(settings))))


def close() -> None:
    """End what requests left open for each other."""
    _engine.cache_clear()
    _open.close()


def artifact(request: Request, _: Emit) -> Any:
    """`base`, `adapter` (or null), `merged`, `dtype`, `prompts`, `revision` (optional): the saved model, compared."""
    from .artifact import compare

    adapter = Path(request["adapter"]) if request["adapter"] else None
    load = {"revision": request["revision"]} if request.get("revision") else {}
    return compare(request["base"], adapter, Path(request["merged"]), request["dtype"], request["prompts"], **load)


def generation(plain: Mapping[str, Any]) -> Generation:
    """The sampling parameters, from JSON."""
    return Generation(**{**plain, "stop": tuple(plain["stop"])})


STAGES: Mapping[str, Stage] = {
    "arguments": arguments,
    "audit": audit,
    "train": train,
    "rehearse": rehearse,
    "generate": generate,
    "machine": machine,
    "artifact": artifact,
}
