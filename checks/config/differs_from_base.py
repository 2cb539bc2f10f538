"""CFG008 differs-from-base."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.differences import Difference
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity


@check("CFG008", severity=Severity.WARNING)
def differs_from_base(differences: tuple[Difference, ...]) -> Iterator[Finding]:
    """The checkpoint says otherwise than its base how the weights are to be read.

    Symptoms: loading or serving fails; answers are garbage, or worse than they should be

    Why: training changes numbers in tensors, not the architecture, the rotary embedding or the tokenizer's class. Where
    a saved config differs from the base in one of these, a library has rewritten it; a server then refuses the model,
    or computes something else than was trained.

    Common causes:
        - A trainer loaded the model under another class and saved that class's config. Solution: `modelcheck fix TUNED
          --base BASE --unsafe` restores what fits the tensors that were saved.
        - Only the model was saved, not the processor. Solution: the same command copies its files.

    Bad:
        ```json config.json
        {"architectures": ["LlamaModel"]}
        ```
        ```json base/config.json
        {}
        ```
    Good:
        ```json config.json
        {"rope_theta": null, "rope_scaling": null, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
        ```
        ```json base/config.json
        {"rope_parameters": null, "rope_theta": 10000.0}
        ```

    Traps: asked only where the base is named with `--base`. transformers 5 writes the rotary embedding in another
    shape, and repository names before the modules of `auto_map`: the same thing said otherwise. A theta that is not
    written is not compared. The class of the tokenizer alone is information: transformers 5 writes its own.

    Fix safety: unsafe, the model is read in another way. Restored only where the tensors have the base's names and
    shapes; otherwise the config of the base cannot describe them, and copying it does not help.

    Sources: a recorded fine-tune of Phi-4-mini whose saved config vLLM refused; transformers' migration guide to v5.
    """
    for difference in differences:
        if difference.at is None:
            message = f"{difference.file} is not there, the base has it: a processor cannot be built"
            yield Finding(message, difference.file)
            continue
        key = difference.at.rpartition("/")[2]
        severity = Severity.INFO if key == "tokenizer_class" else Severity.WARNING
        message = (
            f"{key} is {shorten(difference.own)}, expected {shorten(difference.base)} as in the base: what was "
            "trained is read in another way, or refused"
        )
        yield Finding(message, difference.file, difference.at, severity)
