"""The rows of a job, read and split: training with its replay, evaluation, the mirror, and the suites' own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelcheck.dataset.example import BadRow, Example
from modelcheck.dataset.read import Layout, RawRows, examples, open_file, open_hub
from modelcheck.errors import UsageError
from modelcheck.facts.dataset import rows_named
from modelcheck.finetune.job import Job, Suite
from modelcheck.finetune.job_rows import Mirror, Replay, Rows
from modelcheck.finetune.scorers import COMPARING, lm_eval, scorer
from modelcheck.finetune.scorers.text import is_blank

# Bad rows of one file that a message lists.
MOST_SHOWN = 10

Examples = tuple[Example, ...]


class DataError(UsageError):
    """Rows that cannot be used. The text names file and row of each."""


@dataclass(frozen=True, slots=True)
class JobData:
    """`train` holds the replayed rows too, `replayed` of them, `own` is it without them, in the order of its file.

    `suites` maps suite names to their items.
    """

    train: Examples
    own: Examples
    replayed: int
    eval: Examples
    mirror: Examples
    suites: Mapping[str, Examples]

    @property
    def held_out(self) -> Examples:
        """Every row that training must not have seen: those of `eval` and of the suites, but not the mirror's."""
        sets = [items for items in (self.eval, *self.suites.values()) if items is not self.mirror]
        return tuple({(e.source, e.row): e for items in sets for e in items}.values())


def load(job: Job) -> JobData:
    """Every row that the job names. Raises DataError with all that is wrong with them."""
    problems: list[str] = []

    def asked(suite: Suite) -> Examples:
        try:
            return _distinct(lm_eval.items(suite.scorer.settings, job.place(suite)))
        except UsageError as error:
            problems.append(str(error))
            return ()

    def read(rows: Rows, *, items: bool = False) -> Examples:
        try:
            found = read_rows(rows, "gate.cluster" if rows.cluster == job.gate.cluster else "cluster")
            return _distinct(_kept(found)) if items else found
        except UsageError as error:
            problems.append(str(error))
            return ()

    own = read(job.data.train)
    held_out = read(job.data.eval, items=True) if job.data.eval else ()
    replay = read(job.data.replay.rows) if job.data.replay else ()
    theirs = {suite.name: read(suite.data, items=True) for suite in job.suites if isinstance(suite.data, Rows)}
    theirs |= {suite.name: asked(suite) for suite in job.suites if suite.data == "lm_eval"}
    replayed: Examples = ()
    if job.data.replay and own and replay:
        try:
            replayed = draw_replay(own, replay, job.data.replay)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    mirror = _kept(draw_mirror(own, job.data.mirror)) if job.data.mirror else ()
    shared = {"eval": held_out, "mirror": mirror}
    suites = {s.name: theirs[s.name] if s.name in theirs else shared[str(s.data)] for s in job.suites}
    if unreferenced := [told for suite in job.suites for told in _unreferenced(job, suite, suites[suite.name])]:
        raise DataError("\n".join(unreferenced))
    return JobData(mixed(own, replayed, job.data.replay), own, len(replayed), held_out, mirror, suites)


def named_rows(job: Job) -> dict[str, Rows]:
    """{key below the job's table: the rows that it names}."""
    named = {"data.train": job.data.train, "data.eval": job.data.eval}
    named |= {"data.replay": job.data.replay.rows if job.data.replay else None}
    named |= {f"suite[{i}].data": s.data for i, s in enumerate(job.suites, 1) if isinstance(s.data, Rows)}
    return {key: rows for key, rows in named.items() if rows is not None}


def read_rows(rows: Rows, cluster: str = "cluster") -> Examples:
    """The rows of one place as conversations; `cluster` is the key of the job that named that column.

    Raises DataError naming file and row, UsageError for the file itself.
    """
    found = [*examples(_opened(rows), _layout(rows, cluster))]
    bad: dict[str, list[BadRow | Example]] = {}
    for row in found:
        if problem := _problem(row):
            bad.setdefault(problem, []).append(row)
    if bad:
        told = [_told(problem, wrong, len(found)) for problem, wrong in bad.items()]
        more = [f"{rows.name}: and {len(bad) - MOST_SHOWN} other problems"] if len(bad) > MOST_SHOWN else []
        raise DataError("\n".join([*told[:MOST_SHOWN], *more]))
    if not found:
        raise DataError(f"{rows.name}: holds no row")
    return tuple(row for row in found if isinstance(row, Example))


def _opened(rows: Rows) -> RawRows:
    if rows.path is not None:
        return open_file(rows.path, split=rows.split, name=_shown(rows.path))
    return open_hub(str(rows.hf), rows.split, rows.revision)


def _shown(path: Path) -> str:
    """A path as the user would type it: relative where it lies below the working folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _layout(rows: Rows, cluster: str) -> Layout:
    return Layout(rows.form, rows.columns, rows.id, rows.cluster, rows.slice, rows.critical, cluster)


def _problem(row: BadRow | Example) -> str | None:
    """Why a row cannot be used, or None."""
    if isinstance(row, BadRow):
        return row.problem
    if not row.messages:
        what = "is a text without roles" if row.text is not None else "has no message"
        return f"{what}, expected a conversation: name its prompt and answer with columns"
    try:
        json.dumps([row.messages, row.tools, row.reference], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        return f"holds {half}, half of a surrogate pair, which is no character and no token: write the character whole"
    return None


def _kept(items: Examples) -> Examples:
    """The items, if what each expects can be kept beside its answer."""
    bad: dict[str, list[BadRow | Example]] = {}
    for item in items:
        try:
            json.dumps(item.reference)
        except TypeError as error:
            bad.setdefault(str(error), []).append(item)
    if bad:
        told = [_told(f"its reference is no JSON ({problem})", wrong, len(items)) for problem, wrong in bad.items()]
        raise DataError("; ".join(told) + ": keep it as the text, number or list that answers are compared with")
    return items


def _unreferenced(job: Job, suite: Suite, items: Examples) -> Iterator[str]:
    """The items of a suite that its scorer has nothing to compare with, or nothing that it can read."""
    if suite.scorer.type not in COMPARING:
        return
    if blank := [item for item in items if is_blank(item.reference)]:
        yield _told(
            f"has no reference, or a blank one, expected what the scorer {suite.scorer.type} of suite {suite.name} "
            "shall compare answers with: the score would say nothing of a model; name its column with columns.answer "
            "or columns.reference, or leave such rows out",
            blank,
            len(items),
        )
        return
    score = scorer(suite.scorer.settings, job.place(suite))
    try:
        for item in items:
            score("", item)
    except UsageError as error:
        yield str(error)


def _told(problem: str, rows: Sequence[BadRow | Example], of: int) -> str:
    """One problem of several rows in one line."""
    which = f"all {of} rows" if len(rows) == of > 1 else rows_named([row.row for row in rows])
    return f"{rows[0].source}, {which}: {problem}"


def _distinct(items: Sequence[Example]) -> Examples:
    """The items, if no two are the same: results are joined on what an item asks and expects."""
    seen: dict[str, Example] = {}
    twins = [(seen[e.id], e) for e in items if seen.setdefault(e.id, e) is not e]
    if twins:
        first, second = twins[0]
        raise DataError(
            f"{second.place}: asks and expects the same as row {first.row} ({len(twins)} such rows), expected every "
            "item once: counted twice it would make the result look surer than it is"
        )
    return tuple(items)


def draw_mirror(train: Iterable[Example], mirror: Mirror) -> Examples:
    """Different rows of training, in its order: `sample` of them, or all where there are fewer."""
    first: dict[str, Example] = {}
    different = [example for example in train if first.setdefault(example.id, example) is example]
    draw = random.Random(mirror.seed)  # noqa: S311  nothing here is secret
    chosen = sorted(draw.sample(range(len(different)), min(mirror.sample, len(different))))
    return tuple(different[i] for i in chosen)


def mirrored(job: Job) -> Suite | None:
    """The suite whose skill the mirror's rows are asked for too: the primary target, else one on `data.eval`.

    None without a mirror, or where no suite asks what training teaches.
    """
    new = [suite for suite in job.suites if suite.role == "target" or suite.data == "eval"]
    asked = [suite for suite in new if suite.data not in ("mirror", "lm_eval")]
    order = sorted(asked, key=lambda suite: (not suite.primary, suite.data != "eval", suite.role != "target"))
    return order[0] if order and job.data.mirror else None


def draw_replay(train: Sequence[Example], rows: Sequence[Example], replay: Replay) -> Examples:
    """`ratio` rows for each training row. Raises DataError where there are not so many."""
    wanted = round(replay.ratio * len(train))
    if wanted > len(rows):
        raise DataError(
            f"{replay.rows.name}: holds {len(rows)} rows, expected {wanted} or more ({replay.ratio:g} for each of "
            f"{len(train)} training rows): lower data.replay.ratio to {len(rows) / len(train):.2g} or bring more rows"
        )
    return tuple(random.Random(replay.seed).sample([*rows], wanted))  # noqa: S311


def mixed(train: Sequence[Example], replayed: Sequence[Example], replay: Replay | None) -> Examples:
    """Training rows and replayed ones in one order, which the seed fixes; without replay, the order of the file."""
    together = [*train, *replayed]
    if replay is not None:
        random.Random(replay.seed).shuffle(together)  # noqa: S311
    return tuple(together)
