"""Regular expressions from a checkpoint's files, matched in a process of its own: some take longer than a human life.

Run as a program it is the child: it reads {"patterns": [...], "names": [...]} and answers, for each pattern, the
indices of the names that it matches whole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence

# Names to match in one question: a second's work.
SECONDS, MOST = 3, 2_000_000
# No repetition but a leading `.*`: matched in a time that grows with the length of the name alone.
TAME = re.compile(r"(\.\*)?(\\\.|[\w.-])*")


class BadPattern(Exception):
    """A pattern that is no regular expression, or one that takes too long. The text says which and why."""


class TooMany(Exception):
    """More patterns and names than are worth the time. The text says how many."""


def full_matches(patterns: Sequence[str], names: Iterable[str], form: str = "{}") -> list[list[str]]:
    """For each pattern, put into `form`, the names that it matches from beginning to end. Raises BadPattern."""
    listed = list(names)
    if len(patterns) * len(listed) > MOST:
        raise TooMany(f"{len(patterns)} patterns for {len(listed)} modules are too many to match")
    tame = all(map(TAME.fullmatch, patterns))
    patterns = [form.format(pattern) for pattern in patterns]
    if tame:
        found = _match(patterns, listed)
    else:
        question = json.dumps({"patterns": list(patterns), "names": listed})
        command = [sys.executable, "-I", "-S", __file__]
        try:
            done = subprocess.run(
                command, input=question, capture_output=True, text=True, timeout=SECONDS, check=True, env={}
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            raise BadPattern(f"takes more than {SECONDS} seconds to match the module names") from None
        found = json.loads(done.stdout)
    answers: list[list[str]] = []
    for indices in found:
        if isinstance(indices, str):
            raise BadPattern(f"is not a regular expression: {indices}")
        answers.append([listed[i] for i in indices])
    return answers


def _match(patterns: Sequence[str], names: Sequence[str]) -> list[list[int] | str]:
    answers: list[list[int] | str] = []
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
            answers.append([i for i, name in enumerate(names) if compiled.fullmatch(name)])
        except (re.error, RecursionError, OverflowError) as error:
            answers.append(str(error) or "nested too deeply")
    return answers


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    sys.stdout.write(json.dumps(_match(asked["patterns"], asked["names"])))
