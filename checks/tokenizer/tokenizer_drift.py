"""TOK009 tokenizer-drift."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.drift import TokenizerDrift
from modelcheck.facts.files import shorten, some
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.finding import Finding, Severity

# Not the pad token, which only fills batches: pad-is-eos and its neighbours look at that.
ROLES = ("bos_token", "eos_token", "unk_token")


@check("TOK009", severity=Severity.ERROR)
def tokenizer_drift(
    tokenizer_drift: TokenizerDrift, special_tokens: SpecialTokens, base_special_tokens: SpecialTokens
) -> Iterator[Finding]:
    """The tokenizer cuts text otherwise than the base's, or gives its tokens other ids.

    Symptoms: answers are garbage, or worse than they should be; training and serving see different text

    Why: the embedding rows were trained under the base's ids. A token with another id is another word to the model, and
    a text cut otherwise is one it has rarely seen.

    Common causes:
        - The vocabulary was built anew, or tokens were inserted instead of appended. Solution: copy the tokenizer's
          files from the base, and add tokens at the end.
        - Another version, or a conversion, wrote a normalizer or pre-tokenizer that does something else. Solution: the
          same.

    Bad:
        ```json tokenizer.json
        {"model": {"vocab": {"a": 71, "b": 70}}}
        ```
        ```json base/tokenizer.json
        {}
        ```
    Good:
        ```json tokenizer.json
        {"pre_tokenizer": {"trim_offsets": false}, "decoder": {"use_regex": false}}
        ```
        ```json tokenizer_config.json
        {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": true}
        ```
        ```json base/tokenizer.json
        {}
        ```

    Traps: asked only where the base is named with `--base`. Compared is what both do with the vocabulary and with a few
    texts of many scripts, not how the files are written, which every version of transformers changes. Tokens that were
    added, roles that the base had left open, and another pad token are expected. A chat model made of a plain one has
    another EOS, and often gives reserved tokens names of its own: information, and an error where a job saved it.

    Sources: eight published tokenizers saved again by transformers 5.23: files differ, ids and cuts do not.
    """
    renamed = [token for token in tokenizer_drift.moved if token.added and token.own is None]
    if renamed:
        message = (
            f"{len(renamed)} special tokens of the base are not there ({some([m.token for m in renamed])}), expected "
            "as in the base: what was trained with them goes by other tokens now"
        )
        yield Finding(message, "tokenizer.json", "/added_tokens", Severity.INFO)
    if moved := [token for token in tokenizer_drift.moved if token not in renamed]:
        first = moved[0]
        now = "gone" if first.own is None else f"id {first.own}"
        message = (
            f"{len(moved)} tokens of the base have another id or none ({some([m.token for m in moved])}): "
            f"{first.token!r} is {now}, expected id {first.base}: the embedding rows belong to other tokens than were "
            "trained"
        )
        yield Finding(message, "tokenizer.json", "/model/vocab")
    elif recut := tokenizer_drift.recut:
        text, own, base = recut[0]
        message = (
            f"{shorten(text)} is cut into {shorten(list(own))}, expected {shorten(list(base))} as in the base: the "
            "model reads texts otherwise than it was trained on them"
        )
        yield Finding(message, "tokenizer.json", None, Severity.WARNING)
    for role in ROLES:
        mine, theirs = special_tokens.by_role.get(role), base_special_tokens.content(role)
        if theirs is not None and (mine is None or mine.content != theirs):
            message = (
                f"{role} is {mine and mine.content!r}, expected {theirs!r} as in the base: what was written with "
                "that token in mind goes by another one now"
            )
            file, at = (mine.file, mine.at) if mine else ("tokenizer_config.json", f"/{role}")
            yield Finding(message, file, at, Severity.INFO)
