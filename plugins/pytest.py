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
    from modelcheck.plugins.jobs import JobFile, JobResult

JOB_FILE, JOB_FILES = "modelcheck.toml", ".modelcheck.toml"
CHECKPOINTS = ("config.json", "adapter_config.json")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("modelcheck", "health of models, and fine-tuning under test")
    group.addoption(
        "--finetune-eval", action="store_true", help="run the jobs of modelcheck.toml and *.modelcheck.toml"
    )
    group.addoption("--modelcheck", action="store_true", help="lint checkpoint folders, one item for each rule")
    group.addoption(
        "--modelcheck-bless", metavar="NAME", help="keep the tuned answers of the jobs under NAME, as gate.baseline"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "finetune_eval(job): a test on a job's results, skipped without --finetune-eval")


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
                item.add_marker(pytest.mark.skip(reason="needs --finetune-eval"))


@pytest.fixture
def modelcheck_job(request: pytest.FixtureRequest) -> Callable[[str], JobResult]:
    """`modelcheck_job("rugby")`: the results of a job, for assertions of one's own."""
    from modelcheck.plugins.jobs import runs

    def result(name: str) -> JobResult:
        return runs(request.config).result(name, request.config.rootpath)

    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("finetune_eval"):
        from modelcheck.plugins.jobs import runs

        for text in runs(config).reports():
            terminalreporter.write_line(text)


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.getoption("finetune_eval", default=False):
        from modelcheck.plugins.jobs import runs

        runs(config).close()
