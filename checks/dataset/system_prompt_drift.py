"""DAT011 system-prompt-drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.dataset.example import Example, text_of
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity

# More system prompts than this, and they are a part of the data as the questions are.
FEW = 5
# Less than this share of the evaluation rows may stand for a case of its own.
MANY = 0.1


@check("DAT011", severity=Severity.WARNING)
def system_prompt_drift(dataset: Dataset) -> Iterator[Finding]:
    """Evaluation uses a system prompt that training does not, or training uses several spellings of one.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: a fine-tune on few rows ties what it learned to the system prompt that stood before them. Under another one, or
    none, part of it is gone: the evaluation judges a model that nobody trained.

    Common causes:
        - The prompt was improved after the rows were written. Solution: write it into the rows anew, in one place.
        - The evaluation set comes from elsewhere and has none. Solution: give it the prompt of serving.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        ```
        ```json eval.jsonl
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a head?"}, {"role": "assistant", "content": "A part."}]}
        ```
    Good:
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "What is a head?"}, {"role": "assistant", "content": "A part."}]}
        ```

    Traps: data with many system prompts (personas, a date, a document in each) teaches to heed them: silent from six on.
    A few different prompts, or none in replayed rows, are information. Less than a tenth of the evaluation rows may
    differ.

    Sources: practitioners' advice to train and serve under one system prompt.
    """  # noqa: E501  a row is one line
    if (split := dataset.train) is None or not (trained := _prompts(split)):
        return
    yield from _spellings(split, trained)
    if len(trained) > FEW or dataset.eval is None:
        return
    held_out = _prompts(dataset.eval)
    strange = {prompt: count for prompt, count in held_out.items() if prompt not in trained}
    if sum(strange.values()) >= MANY * max(1, held_out.total()) and strange:
        prompt = max(strange, key=lambda p: strange[p])
        message = (
            f"{dataset.eval.of(sum(strange.values()))} have {_said(prompt)}, expected what training has "
            f"({'; '.join(_said(p) for p, _ in trained.most_common(2))}): what was learned under one system prompt is "
            "partly gone under another"
        )
        yield Finding(message, dataset.eval.file, dataset.eval.at(_first(dataset.eval, prompt)))


def _spellings(split: Split, trained: Mapping[str, int]) -> Iterator[Finding]:
    if not 1 < len(trained) <= FEW:
        return
    alike = len({"".join(filter(str.isalnum, prompt)).casefold() for prompt in trained}) < len(trained)
    said = "; ".join(f"{_said(prompt)} in {count}" for prompt, count in Counter(trained).most_common(3))
    message = (
        f"the training rows have {len(trained)} system prompts ({said}), expected the one that will be served: what is "
        "learned under one is partly gone under another"
    )
    yield Finding(message, split.file, severity=Severity.WARNING if alike else Severity.INFO)


def _prompts(split: Split) -> Counter[str]:
    """{system prompt: how many rows}; empty for none. Rows of plain text say nothing."""
    return Counter(_prompt(row) for row in split.examples if row.text is None)


def _prompt(row: Example) -> str:
    return "\n".join(text_of(m) for m in row.messages if m["role"] in ("system", "developer"))


def _first(split: Split, prompt: str) -> int:
    return next(row.row for row in split.examples if row.text is None and _prompt(row) == prompt)


def _said(prompt: str) -> str:
    return f"the system prompt {shorten(prompt)}" if prompt else "no system prompt"
