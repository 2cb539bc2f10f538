"""What each kind of repository costs: every request and every byte, counted by the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fakehub import TOKEN, FakeHub, Fault, Request
from test_hub import adapter, lint
from test_hub_failures import large

from modelcheck import tiny


def sharded() -> dict[str, bytes]:
    """The tiny checkpoint, its embedding in one file and the rest in another."""
    tensors = tiny.tensors()
    first = {name: tensor for name, tensor in tensors.items() if "embed" in name}
    parts = {"1-of-2": first, "2-of-2": {name: tensor for name, tensor in tensors.items() if name not in first}}
    shards = {f"model-0000{part.replace('of-', 'of-0000')}.safetensors": own for part, own in parts.items()}
    places = {name: shard for shard, own in shards.items() for name in own}
    files = {name: content for name, content in tiny.files().items() if name != "model.safetensors"}
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": places}).encode()
    return files | {shard: tiny.safetensors(own) for shard, own in shards.items()}


@dataclass(frozen=True)
class Case:
    """A repository, what is wrong with the server, and its cost: `requests` and at most `sent` bytes."""

    requests: int
    sent: int
    target: str = "org/tiny"
    token: str | None = None
    fault: Callable[[int, Request], Fault | None] = lambda number, request: None
    error: str | None = None


def weights(**how: Any) -> Callable[[int, Request], Fault | None]:
    """A fault of every request for weights."""
    return lambda _, request: Fault(**how) if large(request) else None


# Bytes of bodies, the listing of the repository among them. Two requests more are one in three of six, tried again.
CASES: dict[str, Case] = {
    "public": Case(6, 77_000),
    "gated without a token": Case(2, 690, "org/gated", error="is gated"),
    "gated with a token": Case(6, 77_000, "org/gated", TOKEN),
    "private": Case(1, 0, "org/private", error="has no such model, or a private one"),
    "private with a token": Case(6, 77_000, "org/private", TOKEN),
    "renamed": Case(7, 77_000, "old/tiny"),
    "sharded": Case(8, 120_000, "org/sharded"),
    "adapter on a base": Case(8, 78_000, "org/adapter"),
    "no Range": Case(6, 244_000, fault=weights(ignores_range=True), error="ignores Range"),
    "slow": Case(6, 77_000, fault=lambda n, r: Fault(seconds=0.05)),
    "flaky": Case(8, 77_000, fault=lambda n, r: Fault(503) if n % 3 == 0 else None),
    "truncated": Case(10, 176_000, fault=weights(cut=True), error="broke off its answer"),
    "wrong ETag": Case(6, 77_000, fault=weights(tag="0" * 40), error="sends another"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_request_and_no_byte_too_many(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    for name, files in {"org/tiny": tiny.files(), "org/sharded": sharded(), "org/adapter": adapter("org/tiny")}.items():
        hub.add(name, files)
    hub.add("org/gated", tiny.files(), gated=True)
    hub.add("org/private", tiny.files(), private=True)
    hub.renamed["old/tiny"] = "org/tiny"
    if case.token:
        monkeypatch.setenv("HF_TOKEN", case.token)
    hub.fault = case.fault
    report = lint(case.target)
    assert (case.error or "") in (report.error or "")
    assert (report.error is None) is (case.error is None)
    assert len(hub.requests) == case.requests
    assert case.sent * 0.97 <= hub.sent <= case.sent
