"""Build the base model and the data of examples/tiny: 107k parameters that can add and copy, in about two minutes.

    python tools/tiny_base.py            # rewrites examples/tiny/base and the data files
    python tools/tiny_base.py --data     # the data files only

Everything is drawn from a fixed seed. The weights are equal to the last bit only on the machine and torch that made
them; what they can do is the same everywhere (tests/slow/test_tiny_base.py).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TINY = Path(__file__).parent.parent / "examples" / "tiny"
WORDS = """\
sun tree fish bird stone river cloud house apple bread chair clock dance eagle field glass horse juice knife lemon mouse
night ocean paper queen robot salt tiger uncle voice water yarn zebra brick candle drum""".split()  # noqa: SIM905
MOST = 20
VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, HEADS, POSITIONS = 386, 64, 128, 2, 4, 128
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
{%- else %}
{{- message.content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
STEPS, BATCH, RATE, DECAY = 2000, 64, 5e-3, 0.1

Row = dict[str, str]


def addition(draw: random.Random) -> Row:
    """`add 3 4` and its sum."""
    left, right = draw.randint(0, MOST), draw.randint(0, MOST)
    return {"question": f"add {left} {right}", "answer": str(left + right)}


def copying(draw: random.Random) -> Row:
    """`copy w w w` and the words."""
    words = " ".join(draw.choices(WORDS, k=3))
    return {"question": f"copy {words}", "answer": words}


def last_word(draw: random.Random) -> Row:
    """`last w w w` and the last word: what the base cannot do."""
    words = draw.choices(WORDS, k=3)
    return {"question": f"last {' '.join(words)}", "answer": words[-1]}


def distinct(make: Any, count: int, draw: random.Random, taken: set[str]) -> list[Row]:
    """Rows whose questions nobody else has."""
    rows: list[Row] = []
    while len(rows) < count:
        row = make(draw)
        if row["question"] not in taken:
            taken.add(row["question"])
            rows.append(row)
    return rows


def write_data(folder: Path) -> None:
    """The data files: no question stands in two of them."""
    draw, taken = random.Random(20), set[str]()
    files = {
        "guard-add.jsonl": distinct(addition, 200, draw, taken),
        "guard-copy.jsonl": distinct(copying, 200, draw, taken),
        "eval.jsonl": distinct(last_word, 100, draw, taken),
        "train.jsonl": distinct(last_word, 640, draw, taken),
        # There are 441 additions in all: those that are left stand there twice.
        "replay.jsonl": 2 * distinct(addition, 240, draw, taken) + distinct(copying, 560, draw, taken),
    }
    for name, rows in files.items():
        stem = name.removesuffix(".jsonl")
        lines = (json.dumps({"id": f"{stem}-{i:03}", **row}) for i, row in enumerate(rows))
        (folder / name).write_text("\n".join(lines) + "\n")


def tokenizer() -> Any:
    """A byte-level BPE of 386 tokens over the words, numbers and roles."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    numbers = " ".join(str(n) for n in range(2 * MOST + 1))
    texts = [f"system user assistant add copy last {numbers}", *(f"copy {word} {word}" for word in WORDS)]
    backend.train_from_iterator(texts * 4, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def model(pad: int, eos: int) -> Any:
    """The untrained model, from a fixed seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    built = LlamaForCausalLM(config)
    # As published models have it, so that no runtime has to guess where an answer ends.
    built.generation_config.eos_token_id, built.generation_config.pad_token_id = [eos], pad
    built.generation_config.bos_token_id = None
    return built


def batches(words: Any, steps: int) -> Iterator[tuple[Any, Any]]:
    """Batches of (ids, labels), loss on the answer and its end alone."""
    import torch

    draw = random.Random(0)
    for _ in range(steps):
        rows = []
        for make in draw.choices((addition, copying), k=BATCH):
            row = make(draw)
            prompt = f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n"
            head = words.encode(prompt, add_special_tokens=False)
            tail = words.encode(f"{row['answer']}<|im_end|>", add_special_tokens=False)
            rows.append((head, tail))
        width = max(len(head) + len(tail) for head, tail in rows)
        yield tuple(
            torch.tensor([_filled(start, tail, width, fill) for start, tail in parts])
            for parts, fill in ((rows, words.pad_token_id), ([([-100] * len(h), t) for h, t in rows], -100))
        )  # type: ignore[misc]


def _filled(head: Sequence[int], tail: Sequence[int], width: int, fill: int) -> list[int]:
    return [*head, *tail, *[fill] * (width - len(head) - len(tail))]


def train(built: Any, words: Any, steps: int) -> None:
    """The plain loop: Adam, a warm-up and a straight line down."""
    import torch

    optimizer = torch.optim.AdamW(built.parameters(), lr=RATE, weight_decay=DECAY)
    line = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 50, 1 - step / steps))
    built.train()
    for step, (ids, labels) in enumerate(batches(words, steps), start=1):
        # Padding stands right of everything, where no token looks.
        loss = built(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(built.parameters(), 1.0)
        optimizer.step()
        line.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}/{steps} loss {loss.item():.4f}", file=sys.stderr)


def main() -> None:
    """Build and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", action="store_true", help="write the data files only")
    options.add_argument("--output", type=Path, default=TINY, help="instead of examples/tiny")
    options.add_argument("--steps", type=int, default=STEPS, help="fewer of them, to see that it works")
    chosen = options.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    write_data(chosen.output)
    if chosen.data:
        return
    import torch

    torch.set_num_threads(1)
    words = tokenizer()
    built = model(words.pad_token_id, words.eos_token_id)
    train(built, words, chosen.steps)
    built.save_pretrained(chosen.output / "base")
    words.save_pretrained(chosen.output / "base")


if __name__ == "__main__":
    main()
