"""From the place that a finding names to a line of the file, for programs that show findings beside the text."""

from __future__ import annotations

import re
from pathlib import Path

from modelcheck.finding import Finding
from modelcheck.json_text import pointer_offset
from modelcheck.names import TEXT_LIMIT


def path_of(folder: Path, finding: Finding) -> Path:
    """The file that a finding is about; the folder itself where it names none."""
    if folder.is_file():  # a GGUF, of which no part is text
        return folder
    inside = folder / (finding.file or "")
    # A file of the set-up (a base, a LoRA configuration) is named by its path, not as one of the folder's.
    return inside if inside.exists() or not Path(finding.file or "").exists() else Path(finding.file or "")


def line_and_column(folder: Path, finding: Finding) -> tuple[int, int] | None:
    """(line, column) from 1, or None where the place is no text: a tensor, a folder, a file that is gone."""
    if finding.file is None or finding.at is None:
        return None
    if match := re.fullmatch(r"([0-9]+):([0-9]+)", finding.at):
        return int(match[1]), int(match[2])
    path = path_of(folder, finding)
    try:
        if path.suffix != ".json" or path.stat().st_size > TEXT_LIMIT:
            return None
        text = path.read_text(encoding="utf-8")
        offset = pointer_offset(text, finding.at)
    except (OSError, ValueError, RecursionError):
        return None
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
