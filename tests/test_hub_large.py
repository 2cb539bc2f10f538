"""A checkpoint of 141 GB on the hub: what a lint of it costs, and what it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import large
import pytest
from fakehub import Content, FakeHub, Fault, size
from support import run

import modelcheck
from modelcheck.report import TargetReport

Files = dict[str, bytes | Content]


@pytest.fixture(scope="module")
def checkpoint() -> Files:
    return large.checkpoint()


def lint(**options: object) -> TargetReport:
    [report] = modelcheck.lint("org/large", **options)  # type: ignore[arg-type]
    assert report.internal == []
    assert report.error is None
    return report


def test_the_checkpoint_is_true_to_size(checkpoint: Files) -> None:
    assert sum(map(size, checkpoint.values())) // 10**9 == 141
    assert len([name for name in checkpoint if name.endswith(".safetensors")]) == large.SHARDS
    assert len(large.tokenizer()) > 9 << 20


def test_a_default_lint_reads_megabytes(
    hub: FakeHub, checkpoint: Files, record_property: Callable[[str, object], None]
) -> None:
    hub.add("org/large", checkpoint)
    report = lint()
    record_property(
        "figure",
        f"default lint of a 70B repository: {hub.sent / 1e6:.1f} MB of {report.hub[0].total / 1e9:.0f} GB in "
        f"{len(hub.requests)} requests",
    )
    assert hub.sent <= 25_000_000
    requests = Counter(r.path for r in hub.requests if r.path.endswith(".safetensors"))
    first, *others = sorted(requests)
    assert len(others) == large.SHARDS - 1
    assert all(requests[name] <= 2 for name in others)
    assert requests[first] <= 2 + 40  # the sample's blocks and the added tokens
    assert all(re.fullmatch(r"bytes=\d+-\d+", request.range or "") for request in hub.requests[1:])

    [rows] = [finding.message for finding in report.findings if finding.slug == "untrained-rows"]
    assert re.match(r"254 of the \d+ rows read \(of 128256\) of model.embed_tokens.weight are near zero", rows)
    used = [finding.message.partition(" ")[0] for finding in report.findings if finding.slug == "untrained-token-used"]
    assert used == ["'<|im_end|>'", "'<|im_start|>'"]
    [reason] = [s.reason for s in report.skipped if s.slug == "non-finite-weights"]
    assert "--weights embeddings" in reason

    hub.forget()
    again = lint(offline=True)
    assert hub.requests == []
    assert again.findings == report.findings


def test_what_is_to_come_is_said_before_it_comes(hub: FakeHub, checkpoint: Files) -> None:
    hub.add("org/large", checkpoint)
    result = run("lint", "org/large")
    assert re.search(r"^modelcheck: org/large: 9\.\d MB to come \(tokenizer\.json\)$", result.stderr, re.MULTILINE)
    assert re.search(r"MB to come \(model-00001-of-00030.safetensors\)$", result.stderr, re.MULTILINE)
    assert re.search(r"org/large at \w{40}: read 2\d MB of 141 GB", result.stdout)


@pytest.mark.parametrize(("weights", "told"), [("embeddings", "2.1 GB"), ("full", "141 GB")])
def test_all_that_is_to_come_is_said_in_one_sum_before_any_of_it(
    hub: FakeHub, checkpoint: Files, weights: str, told: str
) -> None:
    hub.add("org/large", checkpoint)
    # Headers begin at 0; nothing else of a shard is sent before the run is killed.
    hub.fault = lambda _, r: Fault(seconds=5) if r.path.endswith("s") and "=0-" not in (r.range or "") else None
    command = [sys.executable, "-m", "modelcheck", "lint", "org/large", "--weights", weights]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        first = process.stderr.readline()
        sent = hub.sent
        process.kill()
    files = f"model-00001-of-{large.SHARDS:05}.safetensors and {large.SHARDS} more files"  # the tokenizer among them
    assert first == f"modelcheck: org/large: {told} to come ({files})\n"
    assert sent <= 3_000_000


def test_a_rule_on_the_embedding_asks_for_its_shard_alone(hub: FakeHub, checkpoint: Files) -> None:
    hub.add("org/large", checkpoint)
    for select in ("untrained-rows", "pad-out-of-range"):
        report = lint(select=[select])
        assert not report.skipped
        assert {r.path.rpartition("/")[2] for r in hub.requests if r.path.endswith(".safetensors")} == {
            f"model-00001-of-{large.SHARDS:05}.safetensors"
        }


def test_without_weights_only_headers_are_read(hub: FakeHub, checkpoint: Files) -> None:
    hub.add("org/large", checkpoint)
    report = lint(weights="none")
    shards = [request for request in hub.requests if request.path.endswith(".safetensors")]
    assert len(shards) <= 2 * large.SHARDS
    assert sum(request.sent for request in shards) <= large.SHARDS * (64 << 10)
    assert "untrained-rows" in {skipped.slug for skipped in report.skipped}
