"""Which architectures a version of vLLM knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from modelcheck import tables
from modelcheck.fact import Missing, fact
from modelcheck.target import Targets, Version

# As vLLM's config/model.py (`_SUFFIX_TO_DEFAULTS`): a class that is not registered is run as one that is, by its stem.
SUFFIXES = (
    *("ForCausalLM", "ForConditionalGeneration", "ChatModel", "LMHeadModel", "ForTextEncoding", "EmbeddingModel"),
    *("ForSequenceClassification", "ForTokenClassification", "ForAudioClassification", "ForImageClassification"),
    *("ForVideoClassification", "ClassificationModel", "ForRewardModeling", "RewardModel", "Model"),
)


class Support(Enum):
    """What vLLM does with an architecture."""

    NATIVE = "runs it with a class of its own"
    TRANSFORMERS = "runs it with the class of transformers"
    DROPPED = "has dropped it"
    OUT_OF_TREE = "has moved it to a plugin"
    UNKNOWN = "does not know it"


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of one version. `asked` says how a caller named it, and how far the table is from that."""

    version: str
    asked: str
    native: frozenset[str]
    transformers: frozenset[str]
    backend: frozenset[str]
    multimodal: frozenset[str]
    dropped: Mapping[str, str]
    out_of_tree: Mapping[str, str]

    def support(self, architecture: str) -> Support:
        """What becomes of a checkpoint with this architecture."""
        if architecture in self.native or self._other_head(architecture):
            return Support.NATIVE
        if architecture in self.transformers:
            return Support.TRANSFORMERS
        if architecture in self.dropped:
            return Support.DROPPED
        if architecture in self.out_of_tree:
            return Support.OUT_OF_TREE
        return Support.TRANSFORMERS if architecture in self.backend else Support.UNKNOWN

    def _other_head(self, architecture: str) -> bool:
        suffix = next((s for s in SUFFIXES if architecture.endswith(s)), None)
        if suffix is None or architecture in self.dropped or architecture in self.out_of_tree:
            return False
        stem = architecture.removesuffix(suffix)
        return any(stem + other in self.native for other in SUFFIXES)


@fact
def vllm_registry(target: Targets) -> Registry:
    """The registry of the asked version of vLLM; of the newest known where none was asked.

    The nearest table at or below the version is taken.
    """
    versions = tables.vllm_versions()
    asked = target.asked("vllm")
    first, stop = asked.versions if asked and asked.version else ((), ())
    known = [v for v in versions if not stop or v < stop]
    if not known:
        raise Missing(f"the oldest registry of vLLM at hand is that of {_text(versions[0])}, {asked} was asked for")
    newest = known[-1]
    named = f"vLLM {_text(newest)}"
    if first and newest == versions[-1] and first[: len(newest)] > newest:
        named += f" (the newest that modelcheck knows; {asked} was asked for)"
    table = tables.load(f"vllm/{_text(newest)}.json")
    # The newest table names the last version of each dropped one, and so tells those between two tables apart.
    last = {**tables.load(f"vllm/{_text(versions[-1])}.json")["dropped"], **table["dropped"]}
    gone = {name: version for name, version in last.items() if _number(version) < max(first, newest)}
    return Registry(
        _text(newest),
        named,
        frozenset({*table["native"], *last} - gone.keys()),
        frozenset({*table["transformers"], *table["backend"]} - gone.keys()),
        frozenset(tables.load("transformers.json")["backend"]),
        frozenset(table["multimodal"]),
        gone,
        table["out_of_tree"],
    )


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _number(text: str) -> Version:
    return tuple(map(int, text.split(".")))
