"""A job as the file that it could have been read from: every default filled in, every path absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelcheck.finetune.job import Arm, Job
from modelcheck.finetune.job_file import ENGINE_OF
from modelcheck.finetune.secrets import HIDDEN, redacted

HEAD = f"""\
# The job as it was run: every default filled in, paths absolute, secrets left out. To run it again, copy it beside
# the job file as NAME.modelcheck.toml, put back what is "{HIDDEN}", and run pytest --finetune-eval NAME.modelcheck.toml
"""
# What a job knows about its file, and no file says.
OF_THE_FILE = ("file", "line", "lines", "warnings", "moving")


def toml(job: Job) -> str:
    """The job file. `job_file.read_jobs` of it, secrets put back, gives the same job."""
    import tomli_w

    document = {"job": {job.name: _table(job)}}
    return f"{HEAD}\n{tomli_w.dumps(_said(redacted(document)))}"


def _table(job: Job) -> dict[str, Any]:
    table = {key: value for key, value in job.plain().items() if key not in ("name", *OF_THE_FILE)}
    suites, data, train = table.pop("suites"), table["data"], table["train"]
    del table["arms"]
    if data["mirror"]:
        data["mirror"] |= {"from": "train"}
    if data["replay"]:
        data["replay"] |= data["replay"].pop("rows")
    if isinstance(train["eval_every"], float):
        train["eval_every"] = f"{100 * train['eval_every']:.12g}%"
    evaluation = {
        key: part for key, part in table["eval"].items() if ENGINE_OF.get(key, job.eval.backend) == job.eval.backend
    }
    if job.eval.openai:
        evaluation["openai"] = _server(evaluation["openai"])
    table["eval"] = evaluation
    flat = [{**suite, "scorer": _scorer(suite["scorer"])} for suite in suites]
    return {**table, "timeout": f"{job.timeout}s", "suite": flat, "arm": [_arm(arm) for arm in job.arms]}


def _scorer(plain: Mapping[str, Any]) -> dict[str, Any]:
    limited = {"timeout": f"{plain['options']['timeout']}s"} if "timeout" in plain["options"] else {}
    return {"type": plain["type"], **plain["options"], **limited}


def _arm(arm: Arm) -> dict[str, Any]:
    system = {"path": str(arm.system)} if isinstance(arm.system, Path) else arm.system
    drawn = {"shots": arm.shots, "seed": arm.seed} if arm.shots else {}
    shown: dict[str, Any] = {"context": arm.context, "model": arm.model, "revision": arm.revision}
    shown |= {"openai": _server(asdict(arm.openai))} if arm.openai else {}
    return {"name": arm.name, "system": system, **drawn, **shown}


def _server(plain: Mapping[str, Any]) -> dict[str, Any]:
    endpoint, serve = plain["endpoint"], plain["serve"]
    table = {**endpoint, "timeout": f"{endpoint['timeout']}s", "base_url": endpoint["base_url"] or None}
    if serve:
        table |= {"serve": [*serve["words"]], "serve_env": serve["env"], "serve_timeout": f"{serve['timeout']}s"}
    return table


def _said(value: Any) -> Any:
    """A document without what nobody said: TOML has no word for nothing."""
    if isinstance(value, Mapping):
        return {key: _said(part) for key, part in value.items() if part is not None}
    return [_said(part) for part in value] if isinstance(value, list) else value
