"""Arms behind an endpoint: another model, which is sent messages and is known by nothing but its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modelcheck.finetune.chat import Chat, ChatError
from modelcheck.finetune.chat.pinning import negotiated
from modelcheck.finetune.job import Arm, Job
from modelcheck.finetune.serving import settings as serving

TRIAL = ({"role": "user", "content": "What is 2 + 2?"},)


def answered_by(arm: Arm, job: Job) -> Job:
    """The job as an arm's server answers it: asked from our own interpreter, whatever that of the evaluation is.

    The arguments of the base's chat template say nothing to another model.
    """
    if arm.openai is None:
        return job
    asked = replace(job.eval, backend="openai", openai=arm.openai, template_args={}, python=None, env={})
    return replace(job, eval=asked)


def problems(arm: Arm, job: Job) -> Iterator[str]:
    """What keeps an arm from its server. One that runs is asked once: for its key, its model and what it takes."""
    if arm.openai is None:
        return
    place = f"arm {arm.name}"
    if missing := [*serving.problems(answered_by(arm, job).eval, place)]:
        yield from missing
        return
    try:
        with Chat(arm.openai.endpoint) as chat:
            if arm.openai.serve is None:
                negotiated(lambda **fields: chat.ask(TRIAL, **fields), job.eval.gen, (), {}, {})
    except ChatError as error:
        yield f"{place}.openai: {error}"
