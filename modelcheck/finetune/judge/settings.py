"""What a job says about its judge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.identity import content
from modelcheck.finetune.judge.question import REPLIES, Case, default_prompt, messages, placeholder_problem
from modelcheck.finetune.scorers.options import Options
from modelcheck.finetune.state import digest

# What every way of reading a reply can find in it.
WORD = re.compile(r"\w+")
YES_NO = {"yes": 1.0, "no": 0.0}
# Options that a judge in a folder has no use for.
OF_A_SERVER = ("base_url", "model", "threads", "timeout", "max_retries", "extra_body", "api_key_env")
# Between them, all that a judge is told of any case: its fences, its parts, and how to reply.
FULL, BARE = Case("question", "criteria", "reference", "answer"), Case("question", "", "", "answer")


@dataclass(frozen=True, slots=True)
class Settings:
    """A judge. `server` holds the settings of a chat client, or `local` is a folder and `dtype` its precision.

    `grades` maps each verdict, from the best on, to its score in [0, 1]. `prompt` is the text with its placeholders,
    `parse` how a reply is read, `unparsable` what becomes of a vote that stays unreadable: `error` or `count`.
    """

    grades: Mapping[str, float]
    prompt: str
    server: Mapping[str, Any] = field(default_factory=dict)
    local: str | None = None
    dtype: str = "bfloat16"
    votes: int = 1
    temperature: float = 0.0
    max_tokens: int = 1024
    parse: str = "json"
    unparsable: str = "error"
    calibration: Path | None = None
    min_agreement: float = 0.9

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.local or f"{self.server['model']} at {self.server['base_url']}")

    @property
    def key(self) -> dict[str, Any]:
        """Everything that decides a verdict but for the number of votes: what verdicts are kept under."""
        asked = {name: self.server[name] for name in ("base_url", "model", "extra_body") if name in self.server}
        return {
            **({"local": digest(content(Path(self.local))), "dtype": self.dtype} if self.local else asked),
            "prompt": digest([messages(case, self.prompt, self.parse, self.grades) for case in (FULL, BARE)]),
            "grades": dict(self.grades),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "parse": self.parse,
            "unparsable": self.unparsable,
        }


def read(options: Options) -> Settings:
    """The judge that a scorer's table describes. Raises UsageError naming the option that is wrong."""
    local = options.take("local", str, "the folder of a model", "")
    if local and not Path(local, "config.json").is_file():
        options.refuse("local", "the folder of a model, with its config.json")
    if local and (there := [name for name in OF_A_SERVER if name in options.table]):
        raise UsageError(
            f"{options.place}: has local and {' and '.join(there)}, expected a judge in a folder or behind a server: "
            "leave one of them out"
        )
    calibration = options.take("calibration", str, "the path of rows with a human's verdict", "")
    if "min_agreement" in options.table and not calibration:
        raise UsageError(
            f"{options.place}: has min_agreement without calibration, so nothing is held against it: name a file of "
            "rows that people have judged as calibration, or leave min_agreement out"
        )
    return Settings(
        grades=_grades(options),
        prompt=_prompt(options),
        server={} if local else _server(options),
        local=local or None,
        dtype=options.take("dtype", str, "bfloat16, float16 or float32", "bfloat16"),
        votes=_from_one(options, "votes", 1),
        temperature=options.take("temperature", float, "a number from 0", 0.0),
        max_tokens=_from_one(options, "max_tokens", 1024),
        parse=_word(options, "parse", [*REPLIES]),
        unparsable=_word(options, "unparsable", ["error", "count"]),
        calibration=Path(calibration) if calibration else None,
        min_agreement=options.take("min_agreement", float, "a number from 0 to 1", 0.9),
    )


def _server(options: Options) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "base_url": options.take("base_url", str, "the address of a server, or local = the folder of a model"),
        "model": options.take("model", str, "the name under which the server knows the judge"),
        "concurrency": _from_one(options, "threads", 16),
        "timeout": options.take("timeout", float, "seconds", 120.0),
        "max_retries": options.take("max_retries", int, "a number of times", 5),
        "extra_body": options.take("extra_body", dict, "a table", {}),
    }
    if name := options.take("api_key_env", str, "the name of an environment variable", ""):
        settings["api_key_env"] = name
    return settings


def _from_one(options: Options, name: str, default: int) -> int:
    value = options.take(name, int, "a whole number from 1", default)
    if value < 1:
        options.refuse(name, "a whole number from 1")
    return value


def _word(options: Options, name: str, words: list[str]) -> str:
    value = options.take(name, str, " or ".join(words), words[0])
    if value not in words:
        options.refuse(name, " or ".join(words))
    return value


def _grades(options: Options) -> dict[str, float]:
    scale = options.take("scale", list, "two whole numbers, the worst grade and the best", [])
    named = options.take("grades", dict, "two or more verdicts, words with their scores from 0 to 1", {})
    if scale and named:
        raise UsageError(f"{options.place}: has scale and grades, expected one of them")
    if scale:
        if len(scale) != 2 or not all(type(end) is int for end in scale) or not 0 < scale[1] - scale[0] <= 100:
            options.refuse("scale", "two whole numbers, the worst grade and the best")
        worst, best = scale
        return {str(grade): (grade - worst) / (best - worst) for grade in range(best, worst - 1, -1)}
    if not named:
        return dict(YES_NO)
    words = {str(word).strip().casefold(): score for word, score in named.items()}
    numbers = all(type(score) in (int, float) and 0 <= score <= 1 for score in words.values())
    if not numbers or not all(map(WORD.fullmatch, words)) or len(words) < len(named) or len(set(words.values())) < 2:
        options.refuse("grades", "two or more verdicts, words with their scores from 0 to 1")
    return dict(sorted(words.items(), key=lambda grade: -grade[1]))


def _prompt(options: Options) -> str:
    path = options.take("prompt", str, "the path of a prompt", "")
    if not path:
        return default_prompt()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{options.place}: prompt: {path}: {getattr(error, 'strerror', None) or error}") from None
    if problem := placeholder_problem(text):
        raise UsageError(f"{options.place}: prompt: {path}: {problem}")
    return text
