"""SRV007 pickle-weights."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import Files, some
from modelcheck.finding import Finding, Severity

# Names under which weights are saved. Optimizers, schedulers, random states and arguments are pickles too, and no one
# serves them.
WEIGHTS = re.compile(
    r"(pytorch_model|model|adapter_model|consolidated|diffusion_pytorch_model)"
    r"([-.][\w.-]+)?\.(bin|pt|pth|ckpt)"
)


@check("SRV007", severity=Severity.WARNING)
def pickle_weights(files: Files) -> Iterator[Finding]:
    """The weights are there as pickles alone.

    Symptoms: a downloaded file could do harm; loading or serving fails

    Why: loading a pickle runs whatever program it holds, on the machine that serves the model. Servers therefore
    refuse such files, or load them slowly, through memory, instead of mapping them; no tool can look at their tensors
    without running them, and neither does this one.

    Common causes:
        - Saved by an old version, or with safe_serialization=False. Solution: load it once where you trust it, and
          save it again with `save_pretrained`, which writes safetensors.

    Bad:
        ```json model.safetensors
        null
        ```
        ```text pytorch_model.bin
        not opened
        ```
    Good:
        ```text training_args.bin
        not opened
        ```
        ```text optimizer.pt
        not opened
        ```

    Traps: pickles beside safetensors of the same weights are not read by loaders. Optimizer states, random states and
    training_args.bin are no weights.

    Sources: Python's documentation of pickle; the hub's pickle scanning; safetensors' reason to be.
    """
    found = [name for name in files if "/" not in name and WEIGHTS.fullmatch(name)]
    safe = [name for name in files.like("*.safetensors") if "/" not in name]
    for adapter in (False, True):
        pickles = [name for name in found if name.startswith("adapter_") is adapter]
        if pickles and not any(name.startswith("adapter_") is adapter for name in safe):
            yield Finding(
                f"the weights are pickles ({some(pickles)}; not opened), expected safetensors: loading them runs what "
                "they hold, and servers refuse or slowly copy them",
                pickles[0],
            )
