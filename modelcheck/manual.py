"""A rule's docstring taken apart: its headings, and the examples that are its tests."""

from __future__ import annotations

import re

REQUIRED = ("Symptoms", "Why", "Common causes", "Bad", "Good", "Traps", "Sources")
# What a user sees go wrong; every rule names at least one, and the documentation is indexed by them.
SYMPTOMS = (
    "the model does not stop, or stops in the wrong place",
    "answers are garbage, or worse than they should be",
    "training runs, and part of the model does not learn",
    "training and serving see different text",
    "loading or serving fails",
    "generation is slow, or takes too much memory",
    "a downloaded file could do harm",
)
HEADING = re.compile(r"^(Symptoms|Why|Common causes|Bad|Good|Traps|Fix safety|Sources):[ \t]*", re.MULTILINE)
BLOCK = re.compile(r"^[ \t]*```(\w+) (\S+)\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)


def sections(manual: str) -> dict[str, str]:
    """{heading: text}, the title under the empty heading, in the order of the docstring."""
    pieces = HEADING.split(manual)
    return {"": pieces[0].strip()} | {h: text.strip("\n") for h, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def missing_headings(manual: str) -> list[str]:
    """The headings that every manual of ours must have and this one lacks."""
    return [heading for heading in REQUIRED if heading not in sections(manual)]


def symptoms(manual: str) -> list[str]:
    """The symptoms that a manual names, in the words of SYMPTOMS (or its own, which a test refuses)."""
    text = " ".join(sections(manual).get("Symptoms", "").split())
    return [symptom.strip().rstrip(".") for symptom in text.split(";") if symptom.strip()]


def examples(manual: str, heading: str) -> dict[str, str]:
    """{file name: overlay} of the fenced blocks under `Bad` or `Good`."""
    text = sections(manual).get(heading, "")
    return {file: _dedent(content) for _, file, content in BLOCK.findall(text)}


def _dedent(block: str) -> str:
    lines = block.splitlines(keepends=True)
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    return "".join(line[margin:] if line.strip() else line for line in lines)
