"""The one rule of the engine itself: a file that is there and cannot be used."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.finding import Finding, Severity


@check("FIL001", severity=Severity.ERROR)
def malformed_file() -> Iterator[Finding]:
    """A file of the checkpoint is broken.

    Symptoms: loading or serving fails

    Why: what the file holds cannot be read, so loaders fail on it or, worse, read something else. Rules that
    need the file are listed as could-not-check, never as passed.

    Common causes:
        - The file is a git-LFS pointer of 130 bytes. Solution: `git lfs pull`.
        - An interrupted download or a full disk cut the file short. Solution: download it again.
        - A config edited by hand lost a comma or a quote. Solution: the finding names line and column.

    Bad:
        ```text generation_config.json
        {"eos_token_id": 2,
        ```
    Good:
        ```json generation_config.json
        {"transformers_version": "5.23.0"}
        ```

    Traps: a file that is absent is not broken; a key that is absent is not broken; unknown keys are fine.

    Sources: safetensors' own format rules (no overlap, no hole, header at most 100 MB); RFC 8259 for JSON.
    """
    # The engine yields these findings itself, from the Malformed that a fact raises.
    yield from ()
