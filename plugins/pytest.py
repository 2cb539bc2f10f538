"""The pytest plugin: `--finetune-eval` runs jobs, `--modelcheck` lints folders, an item for each step or rule.

It is imported in every pytest run of its users: nothing of modelcheck is, before one of the flags is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from modelcheck.plugins.checkpoint import CheckpointFile
    from modelcheck.plugins.jobs import JobFile
    from modelcheck.plugins.result import JobResult

JOB_FILE, JOB_FILES = "modelcheck.toml", ".modelcheck.toml"
CHECKPOINTS = ("config.json", "adapter_config.json")
WARNED = "warned"
NEEDS = "needs --finetune-eval"
NO_JOB = (
    "no job was found: jobs stand in modelcheck.toml or NAME.modelcheck.toml, in a folder that pytest collects "
    "(testpaths in its settings names others): name the file or its folder, or write one with "
    "`modelcheck init-job BASE DATA`"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("modelcheck", "health of models, and fine-tuning under test")
    group.addoption(
        "--finetune-eval", action="store_true", help="run the jobs of modelcheck.toml and *.modelcheck.toml"
    )
    group.addoption("--modelcheck", action="store_true", help="lint checkpoint folders, one item for each rule")
    group.addoption(
        "--modelcheck-aa", action="store_true", help="evaluate the base twice: does the evaluator itself agree?"
    )
    group.addoption(
        "--modelcheck-bless", metavar="NAME", help="keep the tuned answers of jobs that passed as the baseline NAME"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "finetune_eval(job): a test on a job's results, skipped without --finetune-eval")
    if config.getoption("finetune_eval"):
        from modelcheck.plugins.session import Xdist

        config.pluginmanager.register(Xdist(), "modelcheck-xdist")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> JobFile | CheckpointFile | None:
    is_job = file_path.name == JOB_FILE or file_path.name.endswith(JOB_FILES)
    if is_job and parent.config.getoption("finetune_eval"):
        from modelcheck.plugins.jobs import JobFile

        return JobFile.from_parent(parent, path=file_path)
    if file_path.name in CHECKPOINTS and parent.config.getoption("modelcheck"):
        from modelcheck.plugins.checkpoint import CheckpointFile

        return CheckpointFile.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("finetune_eval"):
        for item in items:
            if item.get_closest_marker("finetune_eval"):
                item.add_marker(pytest.mark.skip(reason=NEEDS))


@pytest.fixture
def modelcheck_job(request: pytest.FixtureRequest) -> Callable[[str], JobResult]:
    """`modelcheck_job("rugby")`: the results of a job, for assertions of one's own; skips without --finetune-eval."""
    if not request.config.getoption("finetune_eval"):
        pytest.skip(NEEDS)
    from modelcheck.plugins.result import JobResult
    from modelcheck.plugins.session import runs

    return lambda name: JobResult(runs(request.config).named(name))


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    if _active(config) and report.when == "call" and report.passed:
        from modelcheck.plugins.notes import notes

        if any(notes(report)):
            return WARNED, "w", "WARNED"
    return None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config, name = session.config, session.config.getoption("modelcheck_bless")
    if name and config.getoption("finetune_eval") and not hasattr(config, "workerinput"):
        from modelcheck.plugins.session import runs

        if not runs(config).bless(name) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if warned := terminalreporter.stats.get(WARNED):
        from modelcheck.plugins.notes import notes

        terminalreporter.section("modelcheck warnings")
        for report in warned:
            terminalreporter.write_line(report.nodeid)
            for text in notes(report):
                terminalreporter.write_line(f"  {text}")
    if config.getoption("finetune_eval"):
        from modelcheck.plugins.session import runs

        if runs(config).none and not terminalreporter.stats.get("error") and not terminalreporter.stats.get("skipped"):
            terminalreporter.write_line(NO_JOB)
        if terminalreporter.hasmarkup:
            for name, rows in runs(config).previews(colour=True):
                terminalreporter.section(f"{name}: what carries loss")
                terminalreporter.write_line(rows)
        for text in runs(config).reports():
            terminalreporter.write_line(text)
        for text in runs(config).blessed:
            terminalreporter.write_line(text)


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.getoption("finetune_eval", default=False):
        from modelcheck.plugins.session import runs

        runs(config).close()


def _active(config: pytest.Config) -> bool:
    return bool(config.getoption("finetune_eval") or config.getoption("modelcheck"))
