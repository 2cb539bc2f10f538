"""Baselines: the tuned answers of a run that was good, kept by name, for later runs to be held against."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.gate import check_manifests
from modelcheck.finetune.job import Suite
from modelcheck.finetune.outcome import PASSED, WARNED
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.work import Work

GOOD = (PASSED, WARNED)
NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def folder(work: Work, name: str) -> Path:
    """Where a baseline lies. Raises UsageError for a name that is none."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} names no baseline: expected letters, digits, - and _, such as v1")
    return work.root / "baselines" / name / work.job.name


def bless(work: Work, name: str) -> Path:
    """Keep the tuned answers of the first seed, suite by suite, in place of what the name stood for."""
    place = folder(work, name)
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for suite in work.job.suites:
        run = work.tuned_runs(suite)[0]
        (partial / suite.name).mkdir(parents=True)
        shutil.copyfile(run.path, partial / suite.name / "samples.jsonl")
        (partial / suite.name / "manifest.json").write_text(json.dumps(run.manifest, indent=1), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return place


def problems(work: Work) -> Iterator[str]:
    """Whether the baseline that the gate names is there."""
    name = work.job.gate.baseline
    if name and not (place := folder(work, name)).is_dir():
        yield f"gate.baseline: nothing is kept as {name!r} in {place}: run once with --modelcheck-bless {name}"


def samples(work: Work, suite: Suite) -> list[Sample]:
    """The blessed answers to a suite, in today's clusters. Raises UsageError where they are to other questions."""
    place = folder(work, str(work.job.gate.baseline)) / suite.name
    try:
        manifest: Mapping[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(f"{place}: holds no answers to this suite: bless the baseline again") from None
    runs = work.tuned_runs(suite)
    for run in runs:
        check_manifests(manifest, run.manifest)
    return dataclasses.replace(runs[0], path=place / "samples.jsonl").samples()
