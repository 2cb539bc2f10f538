"""The class that config.json names for the model, and whose it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelcheck import tables
from modelcheck.fact import NotApplicable, fact

from .config import Config
from .files import expect

# Names that exist while a model is wrapped for training and that no loader knows, by what wraps it.
WRAPPERS = {
    "PEFT": re.compile(r"^Peft(?:Mixed)?Model"),
    "Unsloth": re.compile(r"^Unsloth|^Fast[A-Z]\w*Model$"),
    "FSDP": re.compile(r"^FSDP|^FullyShardedDataParallel"),
    "DeepSpeed": re.compile(r"^DeepSpeedEngine"),
    "DDP": re.compile(r"^DistributedDataParallel"),
    "torch.compile": re.compile(r"^OptimizedModule"),
}
GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True, slots=True)
class Architecture:
    """`names` as config.json lists them, `model_type` beside them."""

    names: tuple[str, ...]
    model_type: str | None
    auto_map: bool

    @property
    def wrapper(self) -> str | None:
        """What the model was wrapped in when it was saved, if the class says so."""
        return next((by for by, form in WRAPPERS.items() if self.names and form.search(self.names[0])), None)

    @property
    def generates(self) -> bool:
        """Whether the class is one that writes text."""
        return bool(self.names) and self.names[0].endswith(GENERATES)

    @property
    def expected(self) -> str | None:
        """The class that transformers has for generating text with this model type."""
        own: list[str] = tables.load("transformers.json")["classes"].get(self.model_type, "").split()
        return next((name for suffix in GENERATES for name in own if name.endswith(suffix)), None)

    @property
    def owner(self) -> str | None:
        """The model type that the class belongs to, where that is of another family than `model_type`."""
        classes: dict[str, str] = tables.load("transformers.json")["classes"]
        if not self.names or self.model_type not in classes:
            return None
        owners = [model_type for model_type, names in classes.items() if self.names[0] in names.split()]
        if not owners or any(_family(owner) == _family(self.model_type) for owner in owners):
            return None
        # Many model types borrow a class: the one that it is named after is its own.
        name = self.names[0].lower()
        return min(owners, key=lambda owner: (not name.startswith(re.sub("[_-]", "", owner)), len(owner)))


@fact
def architecture(config: Config) -> Architecture:
    """The classes of config.json; not applicable to what is no model of transformers' kind."""
    model_type = config.root.get("model_type")
    if "architectures" not in config.root and model_type is None:
        raise NotApplicable("config.json names neither a model type nor an architecture")
    names = config.root.get("architectures")
    listed = () if names is None else expect(config.file, "/architectures", names, list)
    for i, name in enumerate(listed):
        expect(config.file, f"/architectures/{i}", name, str)
    return Architecture(
        tuple(listed), model_type if isinstance(model_type, str) else None, bool(config.root.get("auto_map"))
    )


def _family(model_type: str | None) -> str:
    # A multimodal model and its language model are one family: gemma3 and gemma3_text.
    return re.sub(r"_(?:text|language|lm|llm|vision)(?:_model)?$", "", model_type or "")
