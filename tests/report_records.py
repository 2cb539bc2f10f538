"""Made-up jobs for tests of the report: one that failed, whose model, data and checkpoint write whatever they like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gate_samples import right, run

from modelcheck.finding import Finding, Severity
from modelcheck.finetune.gate import Floor, Guard, Policy, Target, compare, pair
from modelcheck.finetune.hints import Hint
from modelcheck.finetune.job_record import AUDITED, JobRecord, losses
from modelcheck.finetune.outcome import BLOCKED, FAILED, PASSED, Outcome
from modelcheck.finetune.rates import length, overfit, stop, truncation
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Result
from modelcheck.finetune.verdicts import hints_of
from modelcheck.manual import SYMPTOMS

STEPS = ("preflight", "data", "base-copy", "rehearse", "train", "artifact", "guard-copy", "target-last", "behaviour")
ATTACK = '"><script>document.title = 1</script><img src=http://example.org/x>\u202e\x1b[31m</style>{{ 7 * 7 }}\nnext'
LONG = "x" * 400
UNSTOPPED = Finding(
    f"0 of 474 supervised labels are {ATTACK}, expected one in each answer: the model does not learn to stop",
    "training_evidence.json",
    "/labels/ends_supervised",
    code="TRN001",
    slug="label-without-end",
)
PREVIEW = [
    {
        "row": row,
        "ids": [1, 30, 31, 2, 9],
        "texts": ["<|im_start|>", ATTACK, LONG, "<|im_end|>", "\n"],
        "supervised": [False, True, True, True, False],
    }
    for row in range(1, 9)
]
LABELS: dict[str, Any] = {
    "tokens": 40, "supervised": 24, "ends_supervised": 8, "audited": 8, "end_ids": [2]
}  # fmt: skip


def answers(tuned: int, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """Base and tuned answers to 100 items of which the base knew all, and the tuned model the first `tuned`."""
    kinds = [["easy"] * 40 + [ATTACK] * 60, [f"{ATTACK} {LONG}"] * 100, ["sun tree"] * 100]
    base = run(right(100), slice=kinds[0], prompt=kinds[1], reference=f"sun tree {ATTACK}", answers=kinds[2], tokens=3)
    judged = {"reason": f"the answer goes on: {ATTACK} {LONG}"}
    after = [
        replace(s, score=0.0, answer=f"seed {seed}: {ATTACK}{LONG * 9}", stopped=False, tokens=9, metadata=judged)
        if i >= tuned
        else s
        for i, s in enumerate(base)
    ]
    return base, after


def results(tuned: int = 39, seeds: Sequence[int] = (0,), policy: Policy | None = None) -> tuple[Result, ...]:
    """A result of each kind."""
    base, _ = answers(tuned)
    runs = [answers(tuned, seed)[1] for seed in seeds]
    items, by = pair(base, *runs), policy or Policy()
    return (
        compare(base, *runs, role=Guard(0.05), suite="copy", metric="exact"),
        compare(run(right(10)), *(run(right(99)) for _ in seeds), role=Target(0.3), suite="last", metric="exact"),
        compare(run(right(98)), *(run(right(97)) for _ in seeds), role=Guard(0.02), suite="add", metric="exact"),
        compare(base, *runs, role=Floor(0.98), suite="format", metric="json_schema"),
        stop(items, 0.98, by),
        truncation(items, 0.02, by),
        length(items, (0.5, 2.0), by),
        overfit([run(right(55))], [run(right(100))], 0.15, by),
    )


def log(seed: int) -> list[str]:
    """A log that a killed and resumed run left, with a step without a number and a torn last line."""
    steps = [f'{{"step": {n}, "loss": {2 / n + seed / 10}}}' for n in range(1, 301)]
    steps[9] = '{"step": 10, "loss": NaN}'
    held = [f'{{"step": {n}, "eval_loss": {3 / n + 0.1}}}' for n in range(30, 301, 30)]
    return ['{"asked": {"steps": 300}}', '{"step": 2, "loss": 99.0}', *steps, *held, '{"step": 301, "lo']


def failed(seeds: Sequence[int] = (0,), tuned: int = 39) -> JobRecord:
    """A job that came to its end: a guard fell, another cannot be told, the model does not stop, a cause is known."""
    found = results(tuned, seeds)
    outcomes = [
        Outcome(step, PASSED, details=f"details of {step}: {ATTACK}") if step != "data" else data_that_warns()
        for step in STEPS[:6]
    ]
    outcomes += [Outcome(step, FAILED, results=(result,)) for step, result in zip(STEPS[6:], found, strict=False)]
    hint = Hint(UNSTOPPED.message, "TRN001 label-without-end, item data", SYMPTOMS[:1])
    loaded = {"weights": "a1" * 32, "folder": "/somewhere", "special_ids": {"eos": 2, "pad": None}}
    return JobRecord(
        made=GateReport("rugby", found, Policy(), (hint,)),
        steps=STEPS,
        outcomes=outcomes,
        file="modelcheck.toml",
        folder="/home/someone",
        seeds=seeds,
        losses=[losses(seed, log(seed)) for seed in seeds],
        labels=LABELS,
        preview=PREVIEW,
        loaded={"base, evaluated": loaded, f"tuned {ATTACK}": {**loaded, "weights": "b2" * 32}},
        environment={
            "python": "3.11", "git": None, "stages": {"train": {"torch": "2.13"}},
            "machines": {"train": {"packages": {"six": "1.17.0"}, "gpus": ["H100", "H100"]}, "eval": {"gpus": []}},
        },
        settings={
            "name": "rugby", "base": "/home/someone/models/base", "line": 7, "revision": None, "dtype": "bfloat16",
            "train": {"method": "lora", "lr": 1e-4, "lora": {"r": 16}, "seeds": list(seeds), "env": {}},
            "suites": [{"name": "copy", "margin": 0.05, "scorer": {"api_key": "(hidden)", "prompt": ATTACK}}],
        },
    )  # fmt: skip


def data_that_warns() -> Outcome:
    """The step `data` with the finding that explains the failure."""
    finding = replace(UNSTOPPED, severity=Severity.WARNING)
    return Outcome("data", "warn", f"warning TRN001 label-without-end: {finding.message}", findings=(finding,))


def stopped() -> JobRecord:
    """A job that was not trained: its labels teach no end of turn."""
    told = f"error TRN001 label-without-end: {UNSTOPPED.message} (training_evidence.json)"
    data = Outcome("data", FAILED, told, findings=(UNSTOPPED,), figures={AUDITED: 8})
    rest = [Outcome(step, BLOCKED, "data failed") for step in STEPS[2:]]
    outcomes = [Outcome("preflight", PASSED), data, *rest]
    hints = tuple(hints_of([("data", UNSTOPPED)]))
    made = GateReport("rugby", (), Policy(), hints)
    return JobRecord(made=made, steps=STEPS, outcomes=outcomes, file="modelcheck.toml", labels=LABELS, preview=PREVIEW)


def passed(**changes: Any) -> JobRecord:
    """A job with one guard that passed and nothing to say."""
    guard = compare(run(right(100)), run(right(100)), role=Guard(0.05), suite="copy", metric="exact")
    outcomes = (Outcome("data", PASSED), Outcome("guard-copy", PASSED, results=(guard,)))
    made = GateReport("rugby", (guard,), Policy())
    return replace(
        JobRecord(made=made, steps=("data", "guard-copy"), outcomes=outcomes, file="modelcheck.toml"), **changes
    )
