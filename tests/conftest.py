"""What every test may use: the real models that `tools/fetch.py` brings, and a place for measured figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".cache"


@pytest.fixture(scope="session")
def cached() -> Callable[[str], Path]:
    """The folder of a fetched model, by its name below .cache/."""

    def find(name: str) -> Path:
        if not (CACHE / name).is_dir():
            pytest.fail(f"{name} has not been fetched: run `make slow`, or `python tools/fetch.py` first")
        return CACHE / name

    return find


@pytest.fixture(scope="session", autouse=True)
def nobody_is_asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test asks a real hub, nor sees what this machine has in its caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("MODELCHECK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests measured with `record_property("figure", "...")`."""
    reports = terminalreporter.getreports("passed")
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(str(text))
