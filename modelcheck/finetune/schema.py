"""The keys of a job file, table by table. Whatever is not named here is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelcheck.dataset.columns import template_problem
from modelcheck.dataset.forms import COLUMNS, FORMS
from modelcheck.errors import UsageError
from modelcheck.finetune import job, job_rows
from modelcheck.finetune.chat import ENDPOINT_KEYS
from modelcheck.finetune.engines.vllm_failures import REPLICAS
from modelcheck.finetune.kinds import (
    DURATION,
    FLAG,
    MAPPING,
    OFF,
    PATH,
    PROGRAM,
    SHARE_OR_STEPS,
    TEXT,
    TEXT_MAPPING,
    Kind,
    Reader,
    Table,
    Wrong,
    choice,
    either,
    listed,
    nested,
    number,
    path,
    span,
    whole,
)
from modelcheck.finetune.serving import settings as serving
from modelcheck.finetune.toml_lines import Place
from modelcheck.grammar import is_text, load

# A name becomes a part of a test item's name, and pytest cannot select those with `[`, `::` or a dot.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
NAME_WANTED = "letters, digits, - and _ (a test item is called by it)"
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
ACTIONS = ("error", "warn", "off")
DTYPE = choice("bfloat16", "float16", "float32")
GRAMMAR_BACKENDS = ("transformers-cfg", "xgrammar")
NORMALIZE = ("strip", "casefold", "whitespace", "punctuation", "articles", "unicode")


def _name(value: Any, _reader: Reader, _at: Place) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Wrong
    return value


def _function(value: Any, _reader: Reader, _at: Place) -> str:
    if not isinstance(value, str) or not FUNCTION.fullmatch(value):
        raise Wrong
    return value


def _pattern(value: Any, _reader: Reader, _at: Place) -> str:
    if not isinstance(value, str):
        raise Wrong
    try:
        re.compile(value)
    except re.error as error:
        raise Wrong(f"is no regular expression: {error}") from None
    return value


def _column(value: Any, _reader: Reader, _at: Place) -> str:
    if not isinstance(value, str) or not value:
        raise Wrong
    if problem := template_problem(value):
        raise Wrong(problem)
    return value


def _grammar(value: Any, reader: Reader, _at: Place) -> str:
    """As all engines read it, whatever file it came from."""
    if not isinstance(value, str):
        raise Wrong
    try:
        return load(value if is_text(value) else str(path(value, reader))).text
    except UsageError as error:
        raise Wrong(str(error)) from None


TASKS = Kind("a folder of tasks, relative to this file", lambda value, reader, _: str(path(value, reader)))
GRAMMAR = Kind("a grammar's file, relative to this one, or the grammar itself: root ::= ...", _grammar)
SCHEMA_FILE = Kind("a JSON schema's file, relative to this one", lambda value, reader, _: str(path(value, reader)))
FOLDER_NAME = Kind("a folder, relative to this one", lambda value, reader, _: str(path(value, reader)))
FILE_NAME = Kind("a file, relative to this one", lambda value, reader, _: str(path(value, reader)))
COLUMN = Kind('the name of a column, or a template such as "{title}: {question}"', _column)
SUITE_NAME = Kind(NAME_WANTED, _name)
PATTERN = Kind("a regular expression", _pattern)
CALLABLE = Kind('a function as "package.module:function"', _function)
COLUMN_TABLE = Table(dict, dict.fromkeys(COLUMNS, COLUMN))
ROWS_KEYS: Mapping[str, Kind] = {
    "path": PATH,
    "hf": TEXT,
    "split": TEXT,
    "revision": TEXT,
    "form": choice(*FORMS),
    "columns": nested(COLUMN_TABLE),
    "id": TEXT,
    "cluster": TEXT,
    "slice": TEXT,
    "critical": TEXT,
}


def one_place(rows: job_rows.Rows, reader: Reader, at: Place) -> None:
    """Note rows that name no place, or two; and keys of the hub beside a path."""
    if (rows.path is None) == (rows.hf is None):
        reader.say(at, "expected either path (a file or folder) or hf (a data set of the hub)")
    elif rows.path is not None and rows.revision is not None:
        reader.say((*at, "revision"), "belongs to hf: a file has no revision")


def _read_rows(value: Any, reader: Reader, at: Place) -> Any:
    if not isinstance(value, Mapping):
        raise Wrong
    rows = reader.table(ROWS, value, at)
    if rows is not None:
        one_place(rows, reader, at)
    return rows


ROWS = Table(job_rows.Rows, ROWS_KEYS)
ROWS_KIND = Kind('rows such as { path = "data/train.jsonl" }', _read_rows)


def _replay(ratio: float = 0.3, seed: int = 0, **rows: Any) -> job_rows.Replay:
    return job_rows.Replay(job_rows.Rows(**rows), ratio, seed)


def _read_replay(value: Any, reader: Reader, at: Place) -> Any:
    if not isinstance(value, Mapping):
        raise Wrong
    replay = reader.table(REPLAY, value, at)
    if replay is not None:
        one_place(replay.rows, reader, at)
    return replay


REPLAY = Table(_replay, {**ROWS_KEYS, "ratio": number(0, above=True), "seed": whole(0)})
MIRROR = Table(
    lambda sample=100, seed=0, **_: job_rows.Mirror(sample, seed),
    {"from": choice("train"), "sample": whole(1), "seed": whole(0)},
)
LEAKAGE = Table(job_rows.Leakage, {"exact": choice(*ACTIONS), "ngram": whole(2), "ngram_action": choice(*ACTIONS)})
DATA = Table(
    dict,
    {
        "train": ROWS_KIND,
        "eval": ROWS_KIND,
        "mirror": nested(MIRROR),
        "replay": Kind("rows and their ratio", _read_replay),
        "columns": nested(COLUMN_TABLE),
        "form": choice(*FORMS),
        "leakage": nested(LEAKAGE),
        "template": either(choice("tokenizer"), PATH),
        "max_length": whole(1),
        "on_truncate": choice("error", "warn"),
    },
    required=("train",),
)
LORA = Table(
    job.Lora,
    {
        "r": whole(1),
        "alpha": either(number(0, above=True), choice("sqrt_min_dim")),
        "dropout": number(0, 1),
        "targets": either(choice("all-linear"), listed(TEXT, least=1)),
        "rslora": FLAG,
        "trainable_tokens": either(choice("untrained", "none"), listed(TEXT, least=1)),
    },
)
SCHEDULE = Table(
    job.Schedule,
    {
        "type": choice("constant_then_linear", "constant", "linear", "cosine"),
        "warmup": number(0, 1),
        "anneal_last": number(0, 1),
    },
)
TRAIN = Table(
    job.Train,
    {
        "backend": choice("trl", later=("transformers", "unsloth", "axolotl", "command")),
        "method": choice("lora", "full", later=("dora", "rslora", "qlora")),
        "loss_on": choice("assistant", "completion", "all"),
        "lora": nested(LORA),
        "epochs": number(0, above=True),
        "max_steps": whole(1),
        "lr": number(0, above=True),
        "batch": whole(1),
        "grad_accum": whole(1),
        "schedule": nested(SCHEDULE),
        "seeds": listed(whole(0), least=1),
        "eval_every": SHARE_OR_STEPS,
        "report_to": listed(choice("tensorboard", "none", later=("wandb", "mlflow", "trackio"))),
        "merge": choice("dtype", "16bit"),
        "rehearse": FLAG,
        "args": MAPPING,
        "model_args": MAPPING,
        "python": PROGRAM,
        "env": TEXT_MAPPING,
    },
    later={
        "loraplus_ratio": "LoRA+",
        "neftune_noise_alpha": "NEFTune as a key of its own (args takes it)",
        "config": "the axolotl trainer",
        "launcher": "the axolotl trainer",
        "run": "the command trainer",
    },
)
GENERATION = Table(
    job.Generation,
    {
        "temperature": number(0),
        "top_p": number(0, 1, above=True),
        "top_k": either(whole(1), OFF),
        "min_p": number(0, 1),
        "repetition_penalty": number(0, above=True),
        "max_tokens": whole(1),
        "stop": listed(TEXT),
        "seed": whole(0),
    },
)
THINKING = Table(
    job.Thinking,
    {"tags": listed(listed(TEXT, least=2, most=2), least=1), "unclosed": choice("empty", "keep")},
)


def _arguments(value: Any, reader: Reader, at: Place) -> dict[str, Any]:
    if "data_parallel_size" in (arguments := MAPPING.read(value, reader, at)):
        raise Wrong(REPLICAS)
    return dict(arguments)


VLLM = Table(
    job.Vllm,
    {
        "gpu_memory_utilization": number(0, 1, above=True),
        "max_model_len": whole(1),
        "max_num_seqs": whole(1),
        "enforce_eager": FLAG,
        "enable_prefix_caching": FLAG,
        "tensor_parallel_size": whole(1),
        "args": Kind(MAPPING.wanted, _arguments),
    },
    elsewhere={"data_parallel_size": REPLICAS},
)


def _read_eval(value: Any, reader: Reader, at: Place) -> Any:
    if not isinstance(value, Mapping):
        raise Wrong
    evaluation = reader.table(EVAL, value, at)
    if evaluation is not None and evaluation.backend == "openai":
        if evaluation.openai is None:
            reader.say(at, 'backend "openai" needs openai = { serve = [...] }, or one with base_url and model')
        else:
            serving.check(evaluation.openai, reader, (*at, "openai"))
    return evaluation


EVAL = Table(
    job.Eval,
    {
        "backend": choice("transformers", "vllm", "openai"),
        "gen": nested(GENERATION),
        "template_args": MAPPING,
        "repeats": whole(1),
        "strip_thinking": nested(THINKING),
        "batch_size": either(choice("auto"), whole(1)),
        "limit": whole(0),
        "grammar": GRAMMAR,
        "grammar_backend": choice(*GRAMMAR_BACKENDS),
        "vllm": nested(VLLM),
        "openai": nested(serving.SERVER),
        "python": PROGRAM,
        "env": TEXT_MAPPING,
    },
)
SYSTEM_FILE = Table(lambda path: path, {"path": PATH}, required=("path",))
ARM = Table(
    dict,
    {
        "name": SUITE_NAME,
        "system": either(TEXT, nested(SYSTEM_FILE)),
        "shots": whole(1),
        "seed": whole(0),
        "context": COLUMN,
        "model": TEXT,
        "revision": TEXT,
        "openai": nested(serving.SERVER),
    },
    required=("name",),
)
AGREEMENT = Table(
    job.Agreement,
    {"max_logit_diff": either(choice("auto"), number(0)), "min_greedy_agreement": number(0, 1)},
)
GATE = Table(
    job.Gate,
    {
        "alpha": number(0, 0.5, above=True),
        "power": number(0.5, 0.999),
        "cluster": TEXT,
        "on_inconclusive": choice("fail", "warn", "xfail"),
        "require_mde_below_margin": FLAG,
        "stop_rate_min": number(0, 1),
        "truncation_max": number(0, 1),
        "length_ratio": span(number(0)),
        "max_overfit_gap": number(0, 1),
        "merged_vs_adapter": nested(AGREEMENT),
        "weights_must_change": FLAG,
        "baseline": TEXT,
        "must_beat_arms": choice("warn", "fail"),
    },
)
NORMALIZED = {"normalize": listed(choice(*NORMALIZE))}
JUDGE: Mapping[str, Kind] = {
    **{key: kind for key, kind in ENDPOINT_KEYS.items() if key != "concurrency"},
    "threads": whole(1),
    "local": FOLDER_NAME,
    "dtype": DTYPE,
    "prompt": FILE_NAME,
    "votes": whole(1),
    "temperature": number(0),
    "max_tokens": whole(1),
    "scale": listed(whole(0), least=2, most=2),
    "grades": MAPPING,
    "parse": choice("json", "last_word"),
    "unparsable": choice("error", "count"),
    "calibration": FILE_NAME,
    "min_agreement": number(0, 1),
}
# The options of each type of scorer.
SCORERS = {
    "exact": Table(dict, NORMALIZED),
    "contains": Table(dict, NORMALIZED),
    "regex": Table(dict, {"pattern": PATTERN, "group": whole(0)}, required=("pattern",)),
    "numeric": Table(dict, {"rtol": number(0), "atol": number(0)}),
    "choice": Table(dict, {"choices": listed(TEXT, least=2)}),
    "json_schema": Table(dict, {"schema": either(SCHEMA_FILE, MAPPING)}, required=("schema",)),
    "grammar": Table(dict, {"ebnf": GRAMMAR}, required=("ebnf",)),
    "python": Table(dict, {"function": CALLABLE}, required=("function",)),
    "judge": Table(dict, JUDGE),
    "lm_eval": Table(
        dict,
        {"tasks": listed(TEXT), "metric": TEXT, "num_fewshot": whole(0), "limit": whole(1), "include_path": TASKS},
        required=("tasks",),
    ),
    "tool_call": Table(dict, {"ordered": FLAG, "partial": FLAG}),
}
LATER_SCORERS = ("command",)
SCORER_TYPE = choice(*SCORERS, later=LATER_SCORERS)
SHARE = number(0, 1, above=True, below=True)
SUITE = Table(
    dict,
    {
        "name": SUITE_NAME,
        "role": choice("target", "guard", "floor"),
        "data": either(choice("eval", "mirror"), ROWS_KIND),
        "scorer": MAPPING,
        "primary": FLAG,
        "min_gain": number(0, 1, below=True),
        "margin": SHARE,
        "min": SHARE,
        "max": SHARE,
    },
    required=("name", "role", "scorer"),
)
JOB = Table(
    dict,
    {
        "base": TEXT,
        "revision": TEXT,
        "dtype": DTYPE,
        "isolation": choice("subprocess"),
        "timeout": DURATION,
        "data": MAPPING,
        "train": nested(TRAIN),
        "eval": Kind("a table", _read_eval),
        "suite": Kind("tables [[job.NAME.suite]]", lambda value, _reader, _at: value),
        "arm": Kind("tables [[job.NAME.arm]]", lambda value, _reader, _at: value),
        "gate": nested(GATE),
    },
    required=("base", "data"),
)
