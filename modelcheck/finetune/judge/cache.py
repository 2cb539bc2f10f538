"""The verdicts that a judge has given, kept beside the job's answers so that none is paid for twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune import json_lines
from modelcheck.finetune.judge.question import Case
from modelcheck.finetune.judge.reply import Vote
from modelcheck.finetune.state import digest

FILE = "verdicts.jsonl"


class Verdicts:
    """Votes by key, in the folder of one judge below `cache`; without `cache`, for as long as the object lives.

    `judge` is what makes this judge another one (`Settings.key`); it is written down beside the verdicts.
    """

    def __init__(self, cache: Path | None, judge: Mapping[str, Any]) -> None:
        self._folder = cache / f"judge-{digest(judge)[:24]}" if cache else None
        self._judge = judge
        self._known: dict[str, Vote] = {}
        if self._folder and (self._folder / FILE).exists():
            self._known = dict(_read(self._folder / FILE))

    def get(self, key: str) -> Vote | None:
        """The vote, where it has been given."""
        return self._known.get(key)

    def add(self, key: str, vote: Vote) -> None:
        """Keep a vote: it is on the disk when this returns."""
        self._known[key] = vote
        if self._folder is None:
            return
        from filelock import FileLock

        self._folder.mkdir(parents=True, exist_ok=True)
        # Suites and jobs, in several processes, may share a judge.
        with FileLock(self._folder / "lock"):
            described = self._folder / "judge.json"
            if not described.exists():
                described.write_text(json.dumps(self._judge, indent=1), encoding="utf-8")
            json_lines.append(self._folder / FILE, [{"key": key, "verdict": vote.verdict, "reason": vote.reason}])


def key_of(case: Case, vote: int) -> str:
    """The name of one vote on a case."""
    return f"{digest(case.plain)} {vote}"


def _read(path: Path) -> dict[str, Vote]:
    votes: dict[str, Vote] = {}
    for number, line in json_lines.lines(path):
        try:
            record = json.loads(line)
            votes.setdefault(record["key"], Vote(record["verdict"], record["reason"]))
        except (ValueError, RecursionError, KeyError, TypeError):
            raise UsageError(f"{path}:{number}: is no verdict: delete this line; it is asked for again") from None
    return votes
