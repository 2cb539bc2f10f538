"""A plan as a person reads it: what is mended, every line and row that changes, what the model will see."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelcheck.change import FileChange, Kept
from modelcheck.edit import AppendRows, DropTensor, RenameTensor, SetRows, SplitTensor
from modelcheck.fact import Unavailable
from modelcheck.facts.embeddings import FLOATS, Embeddings
from modelcheck.facts.files import Files
from modelcheck.finding import Severity
from modelcheck.mending.proposal import Proposal
from modelcheck.resolver import Resolver
from modelcheck.transaction import needed_space

from .text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Templates stand in one line of JSON: of a long line, only what is around the change is shown.
LONG_LINE, AROUND = 240, 60
MOST_ROWS, MOST_IDS = 8, 12


def render(proposal: Proposal) -> str:
    """The whole of `modelcheck fix`, without the last line that says what was or would be written."""
    lines = [click.style(printable(proposal.target), bold=True)]
    lines += _fixes(proposal)
    for change in proposal.plan.changes:
        lines += _file(change, proposal.facts["files"])
    lines += map(printable, _together(_tensors(proposal)))
    lines += _model_sees(proposal)
    return "\n".join([*lines, *_summary(proposal)])


def outcome(proposal: Proposal, output: str | None, *, written: bool) -> str:
    """What was written, or what would write it."""
    place = proposal.target
    if output:
        return f"  the mended copy is in {output}"
    if written:
        return f"  written; `modelcheck undo {place}` takes it back" if proposal.plan.changes else "  nothing to write"
    if proposal.plan.changes:
        if not Path(place).is_dir():
            return "  nothing was written; --output DIR fetches the model and writes a mended copy"
        space = _bytes(needed_space(Path(place), proposal.plan.changes))
        return f"  nothing was written; --write changes {place} (and needs {space} of disk), --output DIR writes a copy"
    if any(left.unsafe for left in proposal.plan.left_out):
        return "  nothing to mend without --unsafe"
    return "  nothing that can be mended" if proposal.plan.left_out else "  nothing to mend"


def _fixes(proposal: Proposal) -> Iterator[str]:
    said = set()
    for fix in proposal.plan.fixes:
        kind = "safe" if fix.fixer.safe else "unsafe"
        line = f"  fix      {fix.finding.code} {click.style(fix.finding.slug, bold=True)} ({kind}): {fix.fixer.title}"
        for text in [line, *(f"           {printable(note)}" for note in fix.notes)]:
            if text not in said:  # one fixer often mends several findings of a rule
                said.add(text)
                yield text
    for left in proposal.plan.left_out:
        why = f"unsafe, needs --unsafe: {left.reason}" if left.unsafe else left.reason
        text = f"  left out {left.finding.code} {click.style(left.finding.slug, bold=True)}: {printable(why)}"
        if text not in said:
            said.add(text)
            yield text


def _file(change: FileChange, files: Files) -> Iterator[str]:
    """A text file's unified diff; of a file of tensors, how it is written."""
    if any(isinstance(piece, Kept) for piece in change.pieces or ()):
        if change.patches is not None:
            written = sum(len(content) for _, content in change.patches)
            yield f"\n{printable(change.name)}: {_bytes(written)} of {_bytes(change.size)} written in place"
        else:
            yield f"\n{printable(change.name)}: written anew, {_bytes(change.size)}"
        return
    old = files.read(change.name) if change.seen else b""
    new = b"".join(piece for piece in change.pieces or () if isinstance(piece, bytes))
    before, after = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
    names = change.name if change.seen else "/dev/null", change.name if change.pieces is not None else "/dev/null"
    yield ""
    for line in _shortened(list(difflib.unified_diff(before, after, *names, lineterm="", n=1))):
        colour = {"+": "green", "-": "red"}.get(line[:1])
        yield click.style(printable(line), fg=colour)


def _shortened(diff: list[str]) -> Iterator[str]:
    """Long lines cut to what is around their change; a pair of lines is cut at the same place."""
    for i, line in enumerate(diff):
        if len(line) <= LONG_LINE:
            yield line
            continue
        partner = next((d for d in diff[max(0, i - 1) : i + 2] if d[:1] != line[:1] and d[:1] in "+-"), line)
        start = _first_difference(line[1:], partner[1:])
        stop = len(line) - 1 - _first_difference(line[:0:-1], partner[:0:-1])
        low, high = max(0, start - AROUND), min(len(line) - 1, max(stop, start) + AROUND)
        yield f"{line[0]}{'…' if low else ''}{line[1 + low : 1 + high]}{'…' if high < len(line) - 1 else ''}"


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _tensors(proposal: Proposal) -> Iterator[str]:
    set_rows: dict[str, dict[int, NDArray[np.float32]]] = {}
    for edit in proposal.plan.edits:
        match edit:
            case SetRows():
                set_rows.setdefault(edit.tensor, {}).update(edit.rows)
            case AppendRows(tensor=tensor, rows=rows):
                yield f"  {tensor}: {len(rows)} row{'s' * (len(rows) != 1)} added at the end"
            case DropTensor(tensor=tensor):
                yield f"  {tensor}: dropped"
            case RenameTensor(tensor=tensor, to=to):
                yield f"  {tensor} -> {to}"
            case SplitTensor(tensor=tensor, parts=parts):
                yield f"  {tensor} -> {', '.join(f'{name} ({rows} rows)' for name, rows in parts)}"

    for name, rows_of_it in set_rows.items():
        yield from _rows(name, rows_of_it, proposal.facts)


def _together(lines: Iterable[str]) -> Iterator[str]:
    """Lines that differ in nothing but numbers between dots as one: layers, experts."""
    alike = Counter(map(_pattern, lines_of := list(lines)))
    first = {_pattern(line): line for line in reversed(lines_of)}
    for pattern, number in alike.items():
        yield f"{pattern} ({number} tensors)" if number > 1 else first[pattern]


def _pattern(line: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", line)


def _rows(name: str, rows: Mapping[int, NDArray[np.float32]], facts: Resolver) -> Iterator[str]:
    import numpy as np

    ids = sorted(rows)
    yield f"  {name}: {len(ids)} row{'s' * (len(ids) != 1)}"
    old = _old(name, facts)
    for row in ids[:MOST_ROWS]:
        before = f"{old.norm(row):.3g}" if old else "?"
        yield f"    row {row}{_token(facts, row)}: norm {before} -> {float(np.linalg.norm(rows[row])):.3g}"
    if len(ids) > MOST_ROWS:
        yield f"    ... and {len(ids) - MOST_ROWS} more"


def _old(name: str, facts: Resolver) -> Embeddings | None:
    """The matrix as it is; None where it only gets that name, or can only be read, by an earlier fix."""
    try:
        tensor = facts["tensors"].get(name)
    except Unavailable:
        return None
    return Embeddings(facts["files"], tensor) if tensor and tensor.dtype in FLOATS else None


def _token(facts: Resolver, row: int) -> str:
    try:
        token = facts["tokenizer"].token(row)
    except Unavailable:
        return ""
    return f" {printable(token)!r}" if token else ""


def _model_sees(proposal: Proposal) -> Iterator[str]:
    before, after = proposal.model_sees
    for name in before.texts.keys() & after.texts.keys():
        if before.texts[name] != after.texts[name]:
            yield "\na conversation as the model gets it, before and after:"
            old, new = (side.texts[name].splitlines() for side in (before, after))
            for line in list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]:
                yield f"  {click.style(printable(line), fg={'+': 'green', '-': 'red'}.get(line[:1]))}"
        elif before.ids.get(name) != after.ids.get(name):
            yield f"\na conversation's token ids: {_ids(before.ids[name])} -> {_ids(after.ids[name])}"
    if before.plain != after.plain:
        yield f"\na plain text's token ids: {_ids(before.plain)} -> {_ids(after.plain)}"


def _ids(ids: tuple[int, ...]) -> str:
    more = f" ... ({len(ids)})" if len(ids) > MOST_IDS else ""
    return " ".join(map(str, ids[:MOST_IDS])) + more


def _summary(proposal: Proposal) -> Iterator[str]:
    left = [f for f in proposal.after.findings if f.severity > Severity.INFO]
    unsafe = sum(out.unsafe for out in proposal.plan.left_out)
    fixes, files = len(proposal.plan.fixes), len(proposal.plan.changes)
    text = f"{fixes} finding{'s' * (fixes != 1)} mended in {files} file{'s' * (files != 1)}"
    if unsafe:
        text += f"; {unsafe} left out as unsafe (--unsafe mends them)"
    if others := len(proposal.plan.left_out) - unsafe:
        text += f"; {others} left out for the reasons above"
    stay = "1 error or warning stays" if len(left) == 1 else f"{len(left)} errors or warnings stay"
    yield f"\n  {text}; {stay}"


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
