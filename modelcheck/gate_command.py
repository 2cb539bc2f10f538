"""`modelcheck gate`: the gate over result files, whoever evaluated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelcheck.errors import UsageError

if TYPE_CHECKING:
    from modelcheck.finetune.verdict import Role

# What is asked for where nothing is named, and what else there is.
MARGIN = 0.02
OTHERS = "--min-gain, --floor, --ceiling"


@click.command()
@click.argument("base")
@click.argument("tuned", nargs=-1, required=True)
@click.option("--margin", type=float, metavar="M", help="Guard: the score may fall by M at most. Default: 0.02.")
@click.option("--min-gain", type=float, metavar="G", help="Target: the score must rise by G at least.")
@click.option("--floor", type=float, metavar="S", help="The tuned score must be S at least.")
@click.option("--ceiling", type=float, metavar="S", help="The tuned score must be S at most.")
@click.option("--metric", multiple=True, metavar="NAME", help="What is judged, where a log holds several scores.")
@click.option("--cluster", metavar="COLUMN", help="Items that agree in this column are not independent.")
@click.option("--critical", metavar="COLUMN", help="Items of which none may be lost: those where it is true.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="The one-sided error.")
@click.option("--power", type=float, default=0.8, show_default=True, help="For how many items would decide.")
@click.option(
    "--on-inconclusive",
    type=click.Choice(["fail", "warn"]),
    help="What is undecided. Default: warn; in CI, fail where a guard is seen below its margin.",
)
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
def gate(
    base: str,
    tuned: tuple[str, ...],
    margin: float | None,
    min_gain: float | None,
    floor: float | None,
    ceiling: float | None,
    metric: tuple[str, ...],
    cluster: str | None,
    critical: str | None,
    alpha: float,
    power: float,
    on_inconclusive: str | None,
    form: str,
) -> None:
    """Say whether TUNED is as good as BASE, item by item, from the logs of their evaluations.

    A log is a samples.jsonl of modelcheck, a samples_*.jsonl of lm-eval --log_samples, an .eval or .json of inspect,
    the details of lighteval, or a folder of them. Several TUNED are several training seeds.

    Exit code: 0 passed, or undecided and only warned of; 1 failed; 2 the logs cannot be read or compared; 3 an error of
    ours.
    """
    from modelcheck.finetune import gate_json, report
    from modelcheck.finetune.gate_logs import Judged
    from modelcheck.finetune.gate_logs import gate as judge
    from modelcheck.finetune.verdict import Guard, Policy, in_ci

    demand = _demand(margin, min_gain, floor, ceiling)
    policy = Policy(alpha=alpha, power=power, on_inconclusive=on_inconclusive, ci=in_ci())
    asked = demand or Guard(MARGIN)
    found = judge(Path(base), [Path(path) for path in tuned], asked, policy, Judged(metric, cluster, critical))
    if demand is None:
        click.echo(f"no demand is named: a guard, --margin {MARGIN:g}, is taken; others are {OTHERS}", err=True)
    forms: dict[str, Callable[[report.GateReport], str]] = {
        "text": partial(report.text, more="--format json"),
        "markdown": report.markdown,
        "json": gate_json.render,
    }
    # An answer may hold half of a surrogate pair, which cannot be written.
    click.echo(forms[form](found).rstrip("\n").encode("utf-8", "backslashreplace").decode())
    sys.exit(1 if found.consequence == "fail" else 0)


def _demand(margin: float | None, min_gain: float | None, floor: float | None, ceiling: float | None) -> Role | None:
    from modelcheck.finetune.verdict import Ceiling, Floor, Guard, Target

    kinds: dict[str, tuple[Callable[[float], Role], float | None]] = {
        "--margin": (Guard, margin),
        "--min-gain": (Target, min_gain),
        "--floor": (Floor, floor),
        "--ceiling": (Ceiling, ceiling),
    }
    said = {name: kind(value) for name, (kind, value) in kinds.items() if value is not None}
    if len(said) > 1:
        raise UsageError(f"{' and '.join(said)} are two demands: name one, and run the gate once for each")
    return next(iter(said.values()), None)
