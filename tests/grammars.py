"""Grammars of several kinds, tokenizers of each kind, and a random model that is held to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from modelcheck.finetune.grammar.constraint import Constraint, spelling
from modelcheck.grammar import parse

GRAMMARS = {
    "enum": 'root ::= "yes" | "no" | "maybe"',
    "number": 'root ::= "score=" ("10" | [0-9]) ";"',
    "json": r'root ::= "{\"name\": \"" [^"\\\x00-\x1f]{0,8} "\", \"n\": " [1-9] [0-9]{0,2} "}"',
    "letters": 'root ::= ("n\u00e9" | "\u65e5\u672c\u8a9e" | "\U0001f600"){1,3} [\u00e0-\u00fc\u4e00-\u9fff]{0,3} "."',
    "many bytes": r"root ::= [\U0001F600-\U0001F64F]{1,4}",
    "spaces": 'root ::= " a " | "b  c" | " "',
}
CORPUS = [
    "yes no maybe score=10;",
    '{"name": "the", "n": 279}',
    "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \U0001f600.",
] * 5
STOP = "</s>"


def sentencepiece(*, unigram: bool = False, metaspace: bool = False, bytes_too: bool = True) -> Tokenizer:
    """A small tokenizer as SentencePiece's are converted: as Llama 2 (drops a first space), or with Metaspace alone."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)] if bytes_too else []
    if unigram:
        tokenizer = Tokenizer(models.Unigram())
        trainer: Any = trainers.UnigramTrainer(vocab_size=150, special_tokens=[STOP, "<unk>"], unk_token="<unk>")
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=bytes_too, unk_token=None if bytes_too else "<unk>"))
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[STOP, "<unk>", *fallback], show_progress=False)
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Trained as special tokens so that all of them are there; they are ordinary ones.
    return _without_special(tokenizer, fallback) if fallback and not unigram else tokenizer


def _without_special(tokenizer: Tokenizer, names: Sequence[str]) -> Tokenizer:
    import json

    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] not in names]
    return Tokenizer.from_str(json.dumps(plain))


def wrapped(tokenizer: Tokenizer) -> Any:
    """As transformers has it."""
    from transformers import PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, eos_token=STOP, clean_up_tokenization_spaces=False)


def model(size: int) -> Any:
    """A random model that small."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    made: Any = LlamaForCausalLM(LlamaConfig(vocab_size=size, num_key_value_heads=1, **shape))
    return made.eval()


class Held:
    """A random model, held to grammars; its rows are those of the vocabulary and some more."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.tokens = tokenizer, spelling(tokenizer)
        self.stop = tokenizer.eos_token_id
        self.model = model(1 + max(tokenizer.get_vocab().values()) + 13)

    def answers(self, grammar: str, batches: Sequence[int], backend: str) -> Iterator[tuple[str, bool]]:
        """(answer, whether it ended by itself), greedy in the first row of each batch and drawn in the others."""
        import torch
        from transformers import LogitsProcessorList

        from modelcheck.finetune.engines.sampling import Draw

        constraint = Constraint.of(parse(grammar), self.tokens, [self.stop], backend)
        for number, size in enumerate(batches):
            ids = torch.randint(3, 40, (size, 3), generator=torch.Generator().manual_seed(number))
            seeds = range(100 * number, 100 * number + size)
            more = [Draw(seeds, "cpu")] if number % 2 or size > 1 else []
            made = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                logits_processor=LogitsProcessorList([constraint.processor(), *more]),
                max_new_tokens=120,
                do_sample=False,
                eos_token_id=self.stop,
                pad_token_id=self.stop,
            )
            for row in made[:, 3:].tolist():
                end = row.index(self.stop) if self.stop in row else None
                text = self.tokenizer.decode(row[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
                yield text, end is not None
