"""TOK008 tokenizer-class-overrides."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import shorten
from modelcheck.facts.rebuilt import ORDINARY, SPACED, Rebuilt
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets


@check("TOK008", severity=Severity.ERROR)
def tokenizer_class_overrides(tokenizer: Tokenizer, rebuilt_tokenizer: Rebuilt, target: Targets) -> Iterator[Finding]:
    r"""The tokenizer class that tokenizer_config.json names replaces parts of tokenizer.json, and ids change.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: for some classes transformers 5 takes only the vocabulary and the merges out of tokenizer.json and builds
    normalizer and pre-tokenizer by itself, as the class's first model had them. Text is then cut in other places than
    the model was trained with, and than every runtime cuts it that reads tokenizer.json whole (TGI, llama.cpp,
    tokenizers.js, transformers 4).

    Common causes:
        - `tokenizer_class` was filled in by a converter or copied from another model. Solution: set it to
          `PreTrainedTokenizerFast` (or `TokenizersBackend`), which takes tokenizer.json as it stands.

    Bad:
        ```json tokenizer_config.json
        {"tokenizer_class": "GPT2Tokenizer"}
        ```
        ```json tokenizer.json
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\S"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]}}
        ```
    Good:
        ```json tokenizer_config.json
        {"tokenizer_class": "PreTrainedTokenizerFast"}
        ```

    Traps: a class that builds the same thing in other words changes nothing: both encode some texts, and only a
    difference in ids is told. Where only leading and repeated spaces differ it is a warning. Some model types are
    known to name a wrong class and transformers ignores it there; byte-level files under `LlamaTokenizer` likewise.
    transformers 4 reads tokenizer.json whole.

    Fix safety: unsafe, ids change for who used the class; they become those of tokenizer.json.

    Sources: transformers 5.23 (`convert_to_native_format`, `MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS`);
    transformers#45488, transformers#48206, transformers PR #47017.
    """
    newer = target.may_be("transformers", at_least=(5,)) or target.may_be("vllm", at_least=(0, 24))
    if target and not newer and "trl" not in target:
        return
    for texts, severity in ((ORDINARY, Severity.ERROR), (SPACED, Severity.WARNING)):
        changed = [text for text in texts if tokenizer.encode(text) != rebuilt_tokenizer.tokenizer.encode(text)]
        if changed:
            kind = "texts" if severity is Severity.ERROR else "texts with leading or repeated spaces"
            yield Finding(
                f"tokenizer_class is {rebuilt_tokenizer.name}, which in transformers 5 replaces the "
                f"{' and the '.join(rebuilt_tokenizer.parts)} of tokenizer.json, expected a class that keeps them: "
                f"{len(changed)} of {len(texts)} {kind} get other ids, such as {shorten(changed[0], 40)}",
                rebuilt_tokenizer.file,
                rebuilt_tokenizer.at,
                severity,
            )
            return
