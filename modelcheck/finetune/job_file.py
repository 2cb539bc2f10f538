"""Read the jobs of a file: `[job.NAME]` tables in modelcheck.toml or `*.modelcheck.toml`."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune import schema
from modelcheck.finetune.job import Arm, Gate, Job, Scorer, Suite
from modelcheck.finetune.job_rows import Data, Rows
from modelcheck.finetune.kinds import Reader, Wrong
from modelcheck.finetune.serving import settings as serving
from modelcheck.finetune.toml_lines import Place, lines
from modelcheck.settings import KNOWN

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
# A value that may have been meant as a text.
BARE = re.compile(r"[\w.\"-]+\s*=\s*(?!(true|false)\b)[A-Za-z_./][^\"']*")
# What each role must say, and what it may say besides.
BOUNDS = {"target": ("min_gain",), "guard": ("margin",), "floor": ("min", "max")}
# What an arm changes, and the keys that say nothing without another.
WAYS = ("system", "shots", "context", "model", "openai")
BELONGS = {"seed": "shots", "revision": "model"}
# {key of the eval table: the backend that it is for}.
ENGINE_OF = {"batch_size": "transformers", "vllm": "vllm", "openai": "openai"}


class JobFileError(UsageError):
    """A job file that cannot be used. `errors` are all that is wrong with it, in the order of the lines."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


def is_job_file(path: Path) -> bool:
    """Whether a file is called as job files are."""
    return path.name == "modelcheck.toml" or path.name.endswith(".modelcheck.toml")


def read_jobs(path: Path) -> dict[str, Job]:
    """{name: job} in the order of the file; empty where it holds none. Raises JobFileError with everything wrong."""
    path = Path.absolute(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        raise JobFileError([f"{path}: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise JobFileError([f"{path}: is not UTF-8: {error.reason} at byte {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise JobFileError([_no_toml(path, text, str(error))]) from None
    reader = Reader(path, lines(text))
    jobs = dict(_jobs(document, reader))
    if reader.errors:
        raise JobFileError(text for _, text in sorted(reader.errors))
    return jobs


def _no_toml(path: Path, text: str, problem: str) -> str:
    found = re.search(r"line ([0-9]+)", problem)
    number = int(found[1]) if found else len(text.splitlines()) or 1
    line = next(iter(text.splitlines()[number - 1 : number]), "").strip()
    quotes = "; a text is written in quotes" if BARE.fullmatch(line) else ""
    return f"{path}:{number}: is no TOML: {problem}: {line}{quotes}"


def _jobs(document: Mapping[str, Any], reader: Reader) -> Iterator[tuple[str, Job]]:
    tables = document.get("job", {})
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        reader.say(("job",), "expected tables [job.NAME]")
        return
    for key in document.keys() - {"job"}:
        if reader.file.name != "modelcheck.toml":
            reader.say((key,), "a file of jobs holds [job.NAME] tables only; settings belong in modelcheck.toml")
        elif key not in KNOWN:
            near = did_you_mean(key, ["job", *KNOWN])
            reader.say((key,), f"unknown key{near}; known are [job.NAME] tables and {', '.join(KNOWN)}")
    for name, table in tables.items():
        at = ("job", name)
        if not schema.NAME.fullmatch(name):
            reader.say(at, f"a job is named by {schema.NAME_WANTED}")
        if (job := _job(name, table, reader, at)) is not None:
            yield name, job


def _job(name: str, table: Mapping[str, Any], reader: Reader, at: Place) -> Job | None:
    before = len(reader.errors)
    values = reader.table(schema.JOB, table, at) or {}
    gate = values.get("gate") or Gate()
    data = _data(table.get("data"), gate, reader, (*at, "data"))
    suites = _suites(table.get("suite"), data, gate, reader, at)
    arms = _arms(table.get("arm", []), suites, reader, at)
    _engine(table.get("eval"), reader, (*at, "eval"))
    if len(reader.errors) > before or data is None:
        return None
    settings = {key: value for key, value in values.items() if key not in ("base", "data", "suite", "arm")}
    base = _base(values["base"], reader)
    job = Job(name, reader.file, reader.line(at), base, data, tuple(suites), tuple(arms), **settings)
    job = dataclasses.replace(job, lines=reader.below(at))
    return dataclasses.replace(job, warnings=tuple(_warnings(job)), moving=tuple(_moving(job)))


def _base(base: str, reader: Reader) -> str:
    """The absolute path of a folder, or a hub id: what could be both is a folder if there is one."""
    folder = Path.absolute(reader.file.parent / Path(base).expanduser())
    return base if HUB_ID.fullmatch(base) and not folder.exists() else str(folder)


def _data(table: Any, gate: Gate, reader: Reader, at: Place) -> Data | None:
    if not isinstance(table, Mapping):
        return None  # said by the job's own table
    values = reader.table(schema.DATA, table, at)
    if values is None:
        return None
    shared = {key: values.pop(key) for key in ("columns", "form") if key in values}
    # Criteria are for a judge: rows that are only trained on need none.
    trained = shared if "mirror" in values else _without_criteria(shared)
    for key, inherited in (("train", trained), ("eval", shared)):
        if key in values:
            values[key] = _inheriting(values[key], inherited)
    if "eval" in values and values["eval"].cluster is None:
        values["eval"] = dataclasses.replace(values["eval"], cluster=gate.cluster)
    if "replay" in values:
        replay = values["replay"]
        values["replay"] = dataclasses.replace(replay, rows=_inheriting(replay.rows, _without_criteria(shared)))
    return Data(**values)


def _without_criteria(shared: Mapping[str, Any]) -> dict[str, Any]:
    columns = {key: column for key, column in shared.get("columns", {}).items() if key != "criteria"}
    return {**shared, "columns": columns}


def _inheriting(rows: Rows, shared: Mapping[str, Any]) -> Rows:
    """The rows with the columns and the form of the whole table, where they say nothing themselves."""
    own = {key: value for key, value in shared.items() if not getattr(rows, key)}
    # Columns of its own have a form of their own.
    return dataclasses.replace(rows, **own) if not (rows.columns or rows.form) else rows


def _engine(table: Any, reader: Reader, at: Place) -> None:
    if isinstance(table, Mapping):
        backend = table.get("backend", "transformers")
        for key in sorted(table.keys() & ENGINE_OF):
            if ENGINE_OF[key] != backend:
                reader.say((*at, key), f'belongs to backend = "{ENGINE_OF[key]}", and this one is "{backend}"')


def _suites(tables: Any, data: Data | None, gate: Gate, reader: Reader, at: Place) -> list[Suite]:
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        reader.say(at, f"has no suite: add at least one [[{'.'.join(map(str, at))}.suite]] that judges the tuned model")
        return []
    read = [_suite(table, data, gate, reader, (*at, "suite", i)) for i, table in enumerate(tables)]
    suites = [suite for suite in read if suite is not None]
    _named_once("suite", (suite.name for suite in suites), reader, at)
    if sum(suite.primary for suite in suites) > 1:
        reader.say((*at, "suite"), "more than one suite is primary, expected one")
    return suites


def _suite(table: Mapping[str, Any], data: Data | None, gate: Gate, reader: Reader, at: Place) -> Suite | None:
    before = len(reader.errors)
    values = reader.table(schema.SUITE, table, at)
    scorer = _scorer(table["scorer"], reader, (*at, "scorer")) if isinstance(table.get("scorer"), Mapping) else None
    if values is None or scorer is None:
        return None
    if scorer.type == "lm_eval":
        if "data" in values:
            reader.say((*at, "data"), "a suite of lm_eval has the items of its tasks: leave data out")
        values["data"] = "lm_eval"
    source = values.setdefault("data", "eval")
    if isinstance(source, Rows):
        values["data"] = dataclasses.replace(source, cluster=source.cluster or gate.cluster)
    elif source != "lm_eval" and data is not None and getattr(data, source) is None:
        reader.say((*at, "data") if "data" in table else at, f'its data is "{source}", but data.{source} is not there')
    _bounds(values, reader, at)
    return Suite(**{**values, "scorer": scorer}) if len(reader.errors) == before else None


def _bounds(values: Mapping[str, Any], reader: Reader, at: Place) -> None:
    role = values["role"]
    given = [bound for bound in BOUNDS[role] if bound in values]
    if not given:
        reader.say(at, f"a {role} needs {' or '.join(BOUNDS[role])}")
    elif len(given) > 1:
        reader.say((*at, given[-1]), f"stands beside {given[0]}, expected one of them: make two suites, one with each")
    others = {bound for bounds in BOUNDS.values() for bound in bounds} - set(BOUNDS[role])
    for bound in sorted(others & values.keys()):
        owner = next(name for name, bounds in BOUNDS.items() if bound in bounds)
        reader.say((*at, bound), f"belongs to a {owner}, and this suite is a {role}")
    if values.get("primary") and role != "target":
        reader.say((*at, "primary"), f"only a target is primary, and this suite is a {role}")


def _arms(tables: Any, suites: Iterable[Suite], reader: Reader, at: Place) -> list[Arm]:
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        reader.say((*at, "arm"), f"expected tables [[{'.'.join(map(str, at))}.arm]]")
        return []
    read = [_arm(table, reader, (*at, "arm", i)) for i, table in enumerate(tables)]
    arms = [arm for arm in read if arm is not None]
    _named_once("arm", (arm.name for arm in arms), reader, at)
    if arms and not any(suite.role == "target" for suite in suites):
        reader.say((*at, "arm", 0), "arms answer the suites whose role is target, and there is none")
    return arms


def _arm(table: Mapping[str, Any], reader: Reader, at: Place) -> Arm | None:
    before = len(reader.errors)
    values = reader.table(schema.ARM, table, at)
    if values is None:
        return None
    if not values.keys() & set(WAYS):
        reader.say(at, f"asks as the base is asked: give it {', '.join(WAYS[:-1])} or {WAYS[-1]}")
    for key, owner in BELONGS.items():
        if key in values and owner not in values:
            reader.say((*at, key), f"belongs to {owner}, and this arm has none")
    if "model" in values:
        values["model"] = _base(values["model"], reader)
    if "openai" in values:
        serving.check_arm(values["openai"], reader, (*at, "openai"))
        if "model" in values:
            reader.say(at, "model and openai each name the model that answers: leave one of them out")
    return Arm(**values) if len(reader.errors) == before else None


def _named_once(what: str, names: Iterable[str], reader: Reader, at: Place) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            reader.say((*at, what), f'{times} {what}s are called "{name}", expected a name of its own for each')


def _scorer(table: Mapping[str, Any], reader: Reader, at: Place) -> Scorer | None:
    if "type" not in table:
        reader.say(at, f"lacks type, expected one of {', '.join(schema.SCORERS)}")
        return None
    try:
        kind = reader.value(schema.SCORER_TYPE, table["type"], (*at, "type"))
    except Wrong:
        return None
    options = reader.table(schema.SCORERS[kind], {key: table[key] for key in table if key != "type"}, at)
    return Scorer(kind, options) if options is not None else None


def _warnings(job: Job) -> Iterator[str]:
    place = f"{job.file}:{job.line}: job.{job.name}"
    if not any(suite.role == "guard" for suite in job.suites):
        yield f"{place}: no suite is a guard: what the model could do before may be lost unseen"
    if all(suite.data == "mirror" for suite in job.suites):
        yield f"{place}: every suite is on trained rows: what was learned by heart passes too; bring rows as data.eval"
    if job.train.schedule.warmup + job.train.schedule.anneal_last > 1:
        yield f"{job.at('train.schedule')}: warmup and anneal_last are more than the whole run"


def _moving(job: Job) -> Iterator[str]:
    models = {"base": (job.base, job.revision)}
    models |= {f"arm {arm.name}: model": (arm.model, arm.revision) for arm in job.arms if arm.model}
    for key, (model, revision) in models.items():
        if not Path(model).is_absolute() and not COMMIT.fullmatch(revision or ""):
            yield (
                f'{job.file}:{job.line}: job.{job.name}: {key} "{model}" has no commit as revision: its weights may '
                "change between two runs"
            )
