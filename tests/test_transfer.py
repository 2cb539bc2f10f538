"""What is to come over the network is said once, where it is much and where somebody asked to be told."""

from __future__ import annotations

import sys

import pytest

from modelcheck.sources.transfer import Transfer, megabytes

MB = 1_000_000


def test_announcements(capsys: pytest.CaptureFixture[str]) -> None:
    transfer = Transfer("org/name", announced=True)
    transfer.expect(3 * MB, "config.json")
    transfer.advance(3 * MB)
    transfer.expect(50 * MB, "model.safetensors")
    transfer.advance(10 * MB)
    transfer.expect(40 * MB, "model.safetensors")  # what is left of what was said
    transfer.advance(40 * MB)
    transfer.expect(6 * MB, "tokenizer.json")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "modelcheck: org/name: 50 MB to come (model.safetensors)",
        "modelcheck: org/name: 6.0 MB to come (tokenizer.json)",
    ]
    assert transfer.read == 53 * MB


def test_silence_where_nobody_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Transfer("org/name", announced=False).expect(50 * MB, "model.safetensors")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_that_goes_when_all_has_come(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    transfer = Transfer("org/name", announced=True)
    transfer.expect(50 * MB, "model.safetensors")
    transfer.advance(20 * MB)
    assert transfer._bar is not None
    transfer.advance(30 * MB)
    assert transfer._bar is None
    assert "50.0/50.0 MB" in capsys.readouterr().err
    transfer.expect(50 * MB, "model.safetensors")
    transfer.close()
    assert transfer._bar is None


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (2100, "2.1 kB"), (21e6, "21 MB"), (141.2e9, "141 GB")]
)
def test_sizes(size: float, text: str) -> None:
    assert megabytes(size) == text
