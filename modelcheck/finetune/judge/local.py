"""A judge in a folder: loaded by a worker of its own, and held by a grammar to replies that can be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.finetune.job import Generation
from modelcheck.finetune.judge.asking import Hear, Question, Said
from modelcheck.finetune.judge.settings import Settings
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Event, Failed, Worker

# Starting a worker and loading the judge is paid once for so many answers.
LOT = 256
# Characters of a reason: each is a token at most, and what a small model says after that is nothing new.
LONGEST = 240
# Braces, names and the verdict around it.
AROUND = 80
# What the judge of a lot may take, in seconds.
LIMIT = 3600.0


class Local:
    """A judge whose model lies in a folder. It is drawn by the questions' own keys, greedy where `temperature` is 0."""

    lot = LOT
    left_out: Sequence[str] = ()

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings, self._log = settings, log
        self._folder = Path(str(settings.local))

    def ask(self, questions: Mapping[str, Question], hear: Hear) -> None:
        """Replies in batches, each as the grammar has it. Raises UsageError where the judge cannot be loaded."""
        with Prompts(self._folder) as prompts, Worker(self._log) as worker:
            ids = prompts.ids([question.messages for question in questions.values()])
            gen = Generation(temperature=self._settings.temperature, max_tokens=LONGEST + AROUND)
            request = {
                "stage": "generate",
                "folder": str(self._folder),
                "dtype": self._settings.dtype,
                "engine": {"backend": "transformers", "batch_size": "auto", "grammar": grammar(self._settings)},
                "prompts": {key: {"ids": prompt} for key, prompt in zip(questions, ids, strict=True)},
                "gen": dataclasses.asdict(gen),
                "stop_ids": list(prompts.stop_ids),
            }

            def heard(event: Event) -> None:
                for answer in event["answers"] if event["event"] == "batch" else ():
                    hear(answer["key"], Said(answer["text"], answer["finish"] == "length"))

            answer = worker.ask(request, LIMIT, heard)
        if isinstance(answer, Failed):
            raise UsageError(f"the judge {self._settings.name}: {answer}")


def grammar(settings: Settings) -> str:
    """What the judge may write: a reason of plain characters, then one of the verdicts."""
    verdicts = " | ".join(f'"{word}"' for word in settings.grades)
    reason = f"[ !#-[^-~\\]]{{1,{LONGEST}}}"
    if settings.parse == "json":
        return f'root ::= "{{\\"reason\\": \\"" {reason} "\\", \\"verdict\\": \\"" ({verdicts}) "\\"}}"\n'
    return f'root ::= {reason} "\\n" ({verdicts})\n'
