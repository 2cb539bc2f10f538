"""TOK003 special-token-unknown."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.errors import did_you_mean
from modelcheck.fact import Missing
from modelcheck.facts.files import Files
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.vocabulary import Vocabulary
from modelcheck.finding import Finding, Severity

NEEDED = ("bos_token", "eos_token", "pad_token")
# Where multimodal checkpoints describe the placeholders that only their processor knows.
PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


@check("TOK003", severity=Severity.ERROR)
def special_token_unknown(special_tokens: SpecialTokens, vocabulary: Vocabulary, files: Files) -> Iterator[Finding]:
    """A special token is named that the vocabulary does not have.

    Symptoms: loading or serving fails; the model does not stop, or stops in the wrong place

    Why: transformers adds the unknown token behind the vocabulary, with an id that no embedding row was trained for and
    often none exists for: an index error on the GPU, or noise. Other runtimes split the text into pieces, so an EOS of
    that name never stops anything.

    Common causes:
        - A misspelt or foreign token, such as `<|endoftext|>` in a Llama. Solution: name one that exists.
        - tokenizer_config.json was copied from another model than tokenizer.json. Solution: copy both.
        - Tokens were added to a tokenizer whose tokenizer.json was not saved again. Solution: save it.

    Bad:
        ```json tokenizer_config.json
        {"bos_token": "<|begin|>"}
        ```
    Good:
        ```json tokenizer_config.json
        {"bos_token": "<|bos|>"}
        ```

    Traps: a token may be in the base vocabulary rather than among the added tokens. Null is no token. Image and audio
    placeholders of a multimodal model live in its processor's files. Without a full vocabulary at hand the rule could
    not check.

    Sources: transformers 5.23 tokenization_utils_tokenizers.py adds what it does not find; TRL raises for an unknown
    EOS.
    """
    unknown = [(role, token) for role, token in special_tokens if vocabulary.id(token.content) is None]
    if unknown and not vocabulary.complete:
        raise Missing(f"{unknown[0][1].content!r} is not among the added tokens and no file here has the vocabulary")
    multimodal = any(name in files for name in PROCESSORS)
    for role, token in unknown:
        if role not in NEEDED and multimodal:
            continue
        near = did_you_mean(token.content, [c for c in vocabulary.added if c != token.content])
        message = (
            f"{role} is {token.content!r}, expected a token that {vocabulary.file} has: transformers adds it behind "
            f"the vocabulary, where no row was trained, other runtimes split it into pieces{near}"
        )
        yield Finding(message, token.file, token.at, Severity.ERROR if role in NEEDED else Severity.WARNING)
