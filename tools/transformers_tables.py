"""Make modelcheck/data/transformers.json and tokenizer_classes.json from the installed transformers.

Usage: python tools/transformers_tables.py [--check]

The first says which class belongs to which model type, and which classes vLLM can run through its Transformers backend;
the second what a tokenizer class puts in the place of tokenizer.json's own parts. With --check nothing is written.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto import modeling_auto, tokenization_auto
from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES, PROCESSOR_MAPPING_NAMES

ROOT = Path(__file__).parent.parent
DATA = ROOT / "modelcheck" / "data"
MODELS = Path(transformers.__file__).parent / "models"
# What a language model is loaded as; heads of vision and audio models alone are nobody's fine-tune here.
TASKS = (
    "MODEL",
    "MODEL_FOR_PRETRAINING",
    "MODEL_FOR_CAUSAL_LM",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT",
    "MODEL_FOR_MULTIMODAL_LM",
    "MODEL_FOR_MASKED_LM",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "MODEL_FOR_TOKEN_CLASSIFICATION",
    "MODEL_FOR_QUESTION_ANSWERING",
)
# The classes of decoders: those of encoders have parts that depend on more of tokenizer_config.json.
TOKENIZERS = (
    *("GPT2Tokenizer", "GPTNeoXTokenizer", "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"),
    *("Qwen2Tokenizer", "Qwen3_5Tokenizer", "CohereTokenizer"),
)
GENERIC = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizerFast", "MistralCommonBackend")
# Of the model, what changes how a text is cut; the tokens it names come from the files.
OPTIONS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges")
ATTENTION = re.compile(r"^class \w*Attention\w*\(nn\.Module\):", re.MULTILINE)


def classes() -> dict[str, str]:
    """{model type: its classes}, as the Auto classes map them."""
    found: dict[str, set[str]] = {name: set() for name in CONFIG_MAPPING_NAMES}
    for task in TASKS:
        for model_type, names in getattr(modeling_auto, f"{task}_MAPPING_NAMES").items():
            found.setdefault(model_type, set()).update((names,) if isinstance(names, str) else names)
    return {model_type: " ".join(sorted(names)) for model_type, names in sorted(found.items())}


def backend_compatible(known: Mapping[str, str]) -> list[str]:
    """Classes that vLLM can run without an implementation of its own.

    By transformers' own test (`_can_set_attn_implementation`), without importing: the file's attention goes through
    the attention interface.
    """
    wanted = {name for names in known.values() for name in names.split() if re.search(r"For[A-Z]|LMHead", name)}
    found: set[str] = set()
    for file in MODELS.glob("*/modeling_*.py"):
        code = file.read_text(encoding="utf-8")
        if not ATTENTION.search(code) or "ALL_ATTENTION_FUNCTIONS.get_interface(" in code:
            found |= wanted & set(re.findall(r"^class (\w+)\(", code, re.MULTILINE))
    return sorted(found)


def pipeline(name: str) -> dict[str, Any]:
    """The parts that a tokenizer class builds by itself, whatever tokenizer.json says."""
    built = json.loads(getattr(transformers, name)().backend_tokenizer.to_str())
    parts = {part: built[part] for part in ("normalizer", "pre_tokenizer")}
    return parts | {"model": {option: built["model"][option] for option in OPTIONS}}


def tokenizers() -> dict[str, Any]:
    """What modelcheck ships of transformers' choice of tokenizer classes."""
    mapped = tokenization_auto.TOKENIZER_MAPPING_NAMES
    return {
        "transformers": transformers.__version__,
        "escaped": sorted(tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS),
        "generic": sorted(t for t, name in mapped.items() if name in GENERIC),
        "registered": dict(sorted((t, name) for t, name in mapped.items() if name and name not in GENERIC)),
        "pipelines": {name: pipeline(name) for name in TOKENIZERS},
    }


def tables() -> Iterator[tuple[Path, str]]:
    """The files and what they should hold."""
    known = classes()
    models = {
        "transformers": transformers.__version__,
        "classes": known,
        "processors": sorted(PROCESSOR_MAPPING_NAMES),
        "backend": backend_compatible(known),
    }
    for name, table in (("transformers", models), ("tokenizer_classes", tokenizers())):
        yield DATA / f"{name}.json", json.dumps(table, indent=0, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the tables, or compare them: 1 where they differ."""
    differ = False
    for file, new in tables():
        old = file.read_text(encoding="utf-8") if file.is_file() else ""
        differ |= old != new
        if "--check" in sys.argv:
            lines = difflib.unified_diff(old.splitlines(), new.splitlines(), file.name, "made anew", lineterm="", n=0)
            print("\n".join(lines) or f"{file.name}: unchanged")
        else:
            file.write_text(new, encoding="utf-8")
    return int("--check" in sys.argv and differ)


if __name__ == "__main__":
    sys.exit(main())
