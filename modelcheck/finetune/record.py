"""What a job leaves in its folder for people and programs: how it was set up, what was found, where the answers lie."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelcheck import __version__
from modelcheck.finding import Finding
from modelcheck.finetune import gate_json, job_record, report, report_page, resolved
from modelcheck.finetune.label_preview import page
from modelcheck.finetune.outcome import Outcome
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.secrets import redacted
from modelcheck.finetune.training_rules import plain
from modelcheck.finetune.work import Work


def before(work: Work, versions: Mapping[str, Mapping[str, str]]) -> None:
    """config.resolved.toml, every default filled in and secrets left out, and env.json, what it runs on."""
    work.state.folder.mkdir(parents=True, exist_ok=True)
    (work.state.folder / "config.resolved.toml").write_text(resolved.toml(work.job), encoding="utf-8")
    environment = {
        "modelcheck": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _commit(work.job.file.parent),
        "stages": versions,
    }
    _write(work, "env.json", environment)


def data(work: Work, audit: Mapping[str, Any], findings: Iterable[Finding]) -> Path:
    """data_report.json, the audit without its preview and what the rules found, and label_preview.html.

    Into env.json, what the interpreters have: until their libraries are imported, asking would take as long as that.
    """
    environment = json.loads((work.state.folder / "env.json").read_text(encoding="utf-8"))
    _write(work, "env.json", {**environment, "machines": work.machines()})
    found = {key: part for key, part in audit.items() if key != "preview"}
    counts = {"train": len(work.data.train), "replayed": work.data.replayed, "held_out": len(work.data.held_out)}
    _write(work, "data_report.json", {"rows": counts, **found, "findings": [plain(f) for f in findings]})
    place = work.state.folder / "label_preview.html"
    place.write_text(page(audit["preview"]["rows"], audit["labels"]["end_ids"]), encoding="utf-8")
    return place


def after(work: Work, made: GateReport, steps: Sequence[str], outcomes: Mapping[str, Outcome]) -> Path:
    """report.html, gate.json and report.md; links `base/SUITE`, `tuned/SUITE-seedN`, `arms/ARM/SUITE` to the answers.

    A job that stopped before it had a verdict has the page alone: what an earlier run left says nothing of this one.
    """
    folder = work.state.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, form in {"gate.json": gate_json.render, "report.md": report.markdown}.items():
        if made.results:
            (folder / name).write_text(form(made), encoding="utf-8")
        else:
            (folder / name).unlink(missing_ok=True)
    place = folder / "report.html"
    told = job_record.gather(work, made, steps, outcomes, redacted(work.job.plain()))
    place.write_text(report_page.render(told), encoding="utf-8")
    for suite in work.job.suites:
        if any(suite.name == result.suite for result in made.results):
            base, tuned = work.sides(suite)
            _link(folder / "base" / suite.name, base.path.parent)
            for seed, run in zip(work.job.train.seeds, tuned, strict=True):
                _link(folder / "tuned" / f"{suite.name}-seed{seed}", run.path.parent)
            for arm in work.job.arms if suite in work.targets else ():
                _link(folder / "arms" / arm.name / suite.name, work.arm_run(arm, suite).path.parent)
    return place


def _commit(folder: Path) -> str | None:
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _write(work: Work, name: str, document: Mapping[str, Any]) -> None:
    work.state.folder.mkdir(parents=True, exist_ok=True)
    (work.state.folder / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _link(place: Path, there: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():  # a copy that somebody made of the folder
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(os.path.relpath(there, place.parent))
