"""`modelcheck init-job`: a commented job file, filled in from what the checkpoint and the data say."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from modelcheck import packs
from modelcheck.dataset.columns import BadValue
from modelcheck.dataset.example import Example
from modelcheck.dataset.forms import recognise
from modelcheck.dataset.read import Layout, RawRows, examples
from modelcheck.dataset.splits import EVAL, TRAIN, open_data, saved_splits
from modelcheck.engine import Options
from modelcheck.errors import UsageError
from modelcheck.fact import Unavailable
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.finetune.job_file import is_job_file
from modelcheck.output.text import printable
from modelcheck.render.renderer import Renderer
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder

# Rows that are looked at.
SAMPLE = 2000
# Answers of no more words than this can be compared as they are.
SHORT = 5
TEXT = """\
# A fine-tune between two evaluations: `pytest --finetune-eval` runs it. Paths are relative to this file.
# Every key, its values and its default: the guide, "The job file".
[job.{name}]
base = {base}{size}
{revision}dtype = {dtype}

[job.{name}.data]
{train}
{held_out}
{columns}mirror = {{ from = "train", sample = {mirror}, seed = 0 }}  # training rows that are evaluated too: overfitting
# replay = {{ path = "general.jsonl", ratio = 0.3 }}  # rows of what the model can already do, against forgetting
max_length = {max_length}{longest}

[job.{name}.train]
method = "lora"  # or "full"
loss_on = "assistant"
lora = {{ r = 16, alpha = "sqrt_min_dim", targets = "all-linear", rslora = true }}
epochs = 2
lr = {lr}
batch = {batch}
grad_accum = {grad_accum}  # {steps}
schedule = {{ type = "constant_then_linear", warmup = 0.01, anneal_last = 0.5 }}

[job.{name}.eval]
gen = {{ temperature = 0.0, max_tokens = {max_tokens} }}  # greedy: one answer to each item is enough

# What the model is to learn. The gate asks for a gain that is larger than chance.
[[job.{name}.suite]]
name = "new-skill"
role = "target"
data = "{suite_data}"
min_gain = 0.05
scorer = {{ type = "{scorer}" }}  # others: exact, contains, regex, numeric, choice, json_schema, python

# Could a better prompt do it? Arms answer the same items, and the gate says what training bought over them.
# [[job.{name}.arm]]
# name = "few-shot"
# shots = 3  # training rows as examples; also: system = "...", context = "column", model = "folder or hub id"

# What it must not lose. Without a guard, forgetting goes unseen: bring rows of an old skill.
# [[job.{name}.suite]]
# name = "old-skill"
# role = "guard"
# data = {{ path = "general_eval.jsonl" }}
# margin = 0.02
# scorer = {{ type = "exact" }}
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the checkpoint and its tokenizer say; None or 0 where they say nothing."""

    parameters: int = 0
    dtype: str | None = None
    lengths: Sequence[int] = ()
    answers: Sequence[int] = ()
    why_not: str | None = None


def init_job(checkpoint: str, data: str, beside: Path) -> str:
    """The text of a job file that will lie in the folder `beside`. Raises UsageError for what cannot be read."""
    here = Path(checkpoint).is_dir()
    if here and not Path(checkpoint, "config.json").is_file():
        raise UsageError(
            f"{checkpoint}: holds no config.json, expected a model: name the folder of the base, or its id on the hub"
        )
    rows = open_data(data)
    columns, layout = _columns(rows[TRAIN])
    splits = {name: _split(name, raw, layout) for name, raw in rows.items()}
    train = splits[TRAIN]
    known = _known(checkpoint, train) if here else Known(why_not="the base is not a folder here")
    batch, accumulated = 4, 1 if train.rows < 200 else 4
    longest = max(known.lengths, default=0)
    answers = max(known.answers, default=0)
    return TEXT.format(
        name=_name(data),
        base=_quoted(_beside(Path(checkpoint), beside) if here else checkpoint),
        size=f"  # {_rough(known.parameters)} parameters" if known.parameters else "",
        revision="" if here else '# revision = "..."  # a commit, so that the base stays the same\n',
        dtype=_quoted(known.dtype or "bfloat16"),
        train=f"train = {_place(TRAIN, rows, beside)}  # {'' if train.whole else 'more than '}{train.rows} rows",
        held_out=_held_out(rows, splits, beside),
        columns=columns,
        # A suite on the mirror needs as many items as there are, a sample beside others does not.
        mirror=min(100, max(1, train.rows // 4) if EVAL in rows else train.rows),
        max_length=_rounded(longest, 64) or 2048,
        longest=f"  # the longest row has {longest} tokens" if longest else f"  # not measured: {known.why_not}",
        lr="2e-4" if 0 < known.parameters < 1e9 else "1e-4",
        batch=batch,
        grad_accum=accumulated,
        steps=f"{math.ceil(train.rows / (batch * accumulated)) * 2} steps in all",
        max_tokens=_rounded(2 * answers, 32) or 512,
        suite_data="eval" if EVAL in rows else "mirror",
        scorer=_scorer(train.examples),
    )


def write(checkpoint: str, data: str, file: Path) -> None:
    """Write the job file. Raises UsageError where pytest would not find it, or something is there already."""
    if not is_job_file(file):
        raise UsageError(f"--output {file}: a job file is called modelcheck.toml or NAME.modelcheck.toml")
    made = init_job(checkpoint, data, file.parent)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(made)
    except FileExistsError:
        raise UsageError(f"{file} is there already: name another file, --output NAME.modelcheck.toml") from None
    except OSError as error:
        raise UsageError(f"--output {file}: {error.strerror or error}") from None


def _columns(rows: RawRows) -> tuple[str, Layout]:
    """The line that names the columns, if they must be named, and how the rows are read with it."""
    first: Mapping[str, Any] | None = next((row for _, row in rows if isinstance(row, Mapping)), None)
    if first is None:
        return "", Layout()  # reading the rows says what is wrong
    try:
        recognise(first)
    except BadValue:
        texts = [name for name, value in first.items() if isinstance(value, str)]
        if len(texts) < 2:
            raise UsageError(f"{rows.name}: no row has two columns of text, a question and its answer") from None
        named = {"prompt": texts[0], "answer": texts[-1]}
        line = ", ".join(f"{part} = {_quoted(column)}" for part, column in named.items())
        others = f"the columns are {printable(', '.join(first))}: say which is asked and which is the answer"
        return f"columns = {{ {line} }}  # guessed; {others}\n", Layout(columns=named)
    return "", Layout()


def _split(name: str, rows: RawRows, layout: Layout) -> Split:
    found: list[Example] = []
    for row in examples(rows, layout):
        if len(found) == SAMPLE:
            return Split(name, rows.name, tuple(found), whole=False)
        if not isinstance(row, Example):
            raise UsageError(str(row))
        found.append(row)
    if not found:
        raise UsageError(f"{rows.name}: holds no row")
    return Split(name, rows.name, tuple(found))


def _known(checkpoint: str, train: Split) -> Known:
    given = Options().given() | {"dataset": Dataset(train), "source": LocalFolder(checkpoint)}
    with Renderer() as renderer:
        facts = Resolver(packs.load().facts, {**given, "renderer": renderer})
        tensors, config = _fact(facts, "tensors"), _fact(facts, "config")
        parameters = sum(math.prod(tensor.shape) for tensor in tensors.values()) if tensors else 0
        dtype = config.text.get("dtype") or config.text.get("torch_dtype") if config else None
        dtype = dtype if dtype in ("bfloat16", "float16", "float32") else None
        try:
            [encoded] = facts["encoded_rows"]
            tokenizer = facts["tokenizer"]
        except Unavailable as reason:
            return Known(parameters, dtype, why_not=printable(str(reason)))
    answers = [len(tokenizer.encode(str(row.example.reference or ""))) for row in encoded.rows]
    return Known(parameters, dtype, [len(row.ids) for row in encoded.rows], answers)


def _fact(facts: Resolver, name: str) -> Any:
    try:
        return facts[name]
    except Unavailable:
        return None


def _held_out(rows: Mapping[str, RawRows], splits: Mapping[str, Split], beside: Path) -> str:
    if EVAL in rows:
        return f"eval = {_place(EVAL, rows, beside)}  # {splits[EVAL].rows} rows"
    return '# eval = { path = "eval.jsonl" }  # bring rows that are not in training; until then the mirror is judged'


def _place(split: str, rows: Mapping[str, RawRows], beside: Path) -> str:
    path = Path(rows[split].name)
    saved = saved_splits(path).get(split)
    return f"{{ path = {_quoted(_beside(path, beside))}{f', split = {_quoted(saved)}' if saved else ''} }}"


def _beside(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _name(data: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(data).absolute().stem).strip("-")
    return name or "job"


def _scorer(rows: Sequence[Example]) -> str:
    """`exact` where answers are a few words, else `contains`, which is only a beginning."""
    words = [len(str(row.reference).split()) for row in rows if row.reference]
    return "exact" if words and median(words) <= SHORT else "contains"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _rounded(number: int, step: int) -> int:
    return math.ceil(number / step) * step


def _rough(count: int) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size / 10:
            return f"{count / size:.1f} {unit}"
    return str(count)
