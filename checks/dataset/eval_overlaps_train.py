"""DAT007 eval-overlaps-train."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.dataset import Dataset
from modelcheck.facts.leaks import Leaks
from modelcheck.finding import Finding, Severity


@check("DAT007", severity=Severity.WARNING)
def eval_overlaps_train(dataset: Dataset, leaks: Leaks) -> Iterator[Finding]:
    """An evaluation row shares a run of 13 words with a training row.

    Symptoms: answers are garbage, or worse than they should be

    Why: thirteen words in a row are hardly ever shared by chance. The two rows are about one text, so the model may know
    the answer from training, and the evaluation promises more than users will see.

    Common causes:
        - Several questions on one document were split at random. Solution: split by document.
        - Rows were paraphrased by a model, the passage kept. Solution: split before augmenting.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "Sum up: the checkpoint holds the weights and the tokenizer and the template of one model"}, {"role": "assistant", "content": "A checkpoint."}]}
        ```
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "Who? The checkpoint holds the weights and the tokenizer and the template of one model"}, {"role": "assistant", "content": "It."}]}
        ```
    Good:
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "Who? The tokenizer and the template are beside the weights of a model in its checkpoint"}, {"role": "assistant", "content": "It."}]}
        ```

    Traps: a phrase of the instruction, which more than ten training rows (or half of a small set) share or half of the
    evaluation rows, is no leak. System prompts do not count. Texts written without spaces have few words in this sense.

    Sources: GPT-3, appendix C (runs of 13 words, those in more than 10 documents left out); lm-eval's decontamination.
    """  # noqa: E501  a row is one line
    split = dataset.eval
    if split is None or not leaks.overlaps:
        return
    first, held_out = leaks.overlaps[0], [leak.held_out for leak in leaks.overlaps]
    message = (
        f"{split.of(len(leaks.overlaps))} share {dataset.ngram} words in a row with training "
        f"({split.named(held_out)}; the first with {first.trained.place}: "
        f"'{first.shared}'), expected none: the model may know these answers from training"
    )
    yield Finding(message, *split.place(held_out))
