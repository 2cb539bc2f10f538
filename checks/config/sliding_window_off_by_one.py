"""CFG003 sliding-window-off-by-one."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.finding import Finding, Severity

# The family in which the number was a slip: its windows are powers of two elsewhere.
SLIPPED = ("phi3",)


@check("CFG003", severity=Severity.WARNING)
def sliding_window_off_by_one(config: Config) -> Iterator[Finding]:
    """The sliding window is one short of a power of two.

    Symptoms: answers are garbage, or worse than they should be

    Why: attention windows are powers of two; 2047 in the place of 2048 is how the first Phi-3 was published, after its
    authors' own code counted the window without the current token. A runtime that counts the token in sees one token
    less than the model was trained to see, and fused kernels fall back to slower paths.

    Common causes:
        - The config was copied from an early upload of the model. Solution: compare with the base model of today, and
          set the window that the model was trained with.

    Bad:
        ```json config.json
        {"sliding_window": 255}
        ```
    Good:
        ```json config.json
        {"sliding_window": 256}
        ```

    Traps: whether 2047 was meant is not settled, so this is advice: a warning for Phi-3, information elsewhere. Null
    and a switched-off window (`use_sliding_window: false`) are no window.

    Fix safety: unsafe, attention changes.

    Sources: vLLM PR #4380, llama.cpp#7709, llama.cpp PR #8627; published Phi-3 configs.
    """
    at, _ = config.text_where("sliding_window")
    window = config.integer("sliding_window", of_text=True)
    if window is None or window < 255 or (window + 1) & window or config.text.get("use_sliding_window") is False:
        return
    family = config.where("model_type")[1]
    message = (
        f"sliding_window is {window}, expected {window + 1}, a power of two: runtimes that count the current token in "
        "attend to one token less than the model was trained with"
    )
    yield Finding(message, config.file, at, Severity.WARNING if family in SLIPPED else Severity.INFO)
