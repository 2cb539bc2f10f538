"""What a process printed last, as a person is shown it."""

from __future__ import annotations

from pathlib import Path

from modelcheck.finetune.engines.vllm_failures import cause

SHOWN_LINES = 15
KEPT = 1 << 16


def last(log: Path, begins: int) -> str:
    """At most 64 KiB of a log, of what came after its first `begins` bytes."""
    with log.open("rb") as file:
        file.seek(max(begins, log.stat().st_size - KEPT))
        lines = file.read().decode(errors="replace").splitlines()
    # A progress bar writes over itself: what counts is what it said last.
    return "\n".join(line.rpartition("\r")[2] for line in lines)


def shown(printed: str, log: Path | None) -> str:
    """The last lines, and the cause before them where they only point at it."""
    lines, found = printed.splitlines()[-SHOWN_LINES:], cause(printed)
    parts = [] if set(found) <= set(lines) else ["the cause, which stands further up in its log:", *_indented(found)]
    return "\n".join([*parts, f"the last it printed (all of it: {log}):", *_indented(lines)])


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
