"""Hub ids against a server that speaks the hub's API: what is asked for, and what is said when it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakehub import TOKEN, FakeHub
from support import run

import modelcheck
from modelcheck import cache, tiny
from modelcheck.report import TargetReport
from modelcheck.sources import Access
from modelcheck.sources.hub_cache import is_repo_id
from modelcheck.sources.pinning import open_repository
from modelcheck.testing import write_overlay

ZEROS = {"tensors.json": '{"model.embed_tokens.weight": {"4": "zeros", "300": "zeros"}}'}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lint(target: str, **options: object) -> TargetReport:
    [report] = modelcheck.lint(target, **options)  # type: ignore[arg-type]
    assert report.internal == []
    return report


def asked(hub: FakeHub) -> list[str]:
    """The files asked for, in order, each once."""
    found = [re.fullmatch(r".+/resolve/\w+/(.+)", request.path) for request in hub.requests]
    return list(dict.fromkeys(match[1] for match in found if match))


def on_disk(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


# -- What is a hub id ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["gpt2", "org/name", "meta-llama/Llama-3.1-8B", "a", "a" * 96, "a" * 97, "a/b/c", "./a", "/a", "a/", "-a", "a.git",
     "a--b", "a..b", "café", "", " a", "a b", "org/.name", "org/name.", "_a", "a_"],
)  # fmt: skip
def test_ids_are_those_that_the_client_takes(text: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(text)
    except HFValidationError:
        assert not is_repo_id(text)
    else:
        assert is_repo_id(text)


def test_a_folder_comes_first_and_a_path_is_no_id(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_overlay(tmp_path / "name", {})
    assert lint("name").source == "folder"
    for path in ("./other", str(tmp_path / "other")):
        assert "no such folder" in (lint(path).error or "")
    assert "is for hub ids" in (lint("name", revision="main").error or "")
    assert hub.requests == []


# -- What is read --------------------------------------------------------------------------------------------------


def test_the_findings_are_those_of_the_folder(hub: FakeHub, tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "faulty", {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}', **ZEROS})
    repository = hub.add("org/faulty", files(folder))
    here, there = lint(str(folder)), lint("org/faulty")
    assert there.findings == here.findings != []
    assert there.source == "hub"
    assert there.hub[0].sha == repository.sha
    assert there.hub[0].read == hub.sent_of_files
    assert there.hub[0].total == sum(path.stat().st_size for path in folder.iterdir())
    assert all(request.authorization is None for request in hub.requests)


def test_only_what_a_rule_asks_for_is_fetched_each_piece_once(hub: FakeHub) -> None:
    hub.add("org/tiny", {**tiny.files(), "README.md": b"x" * 5000, "onnx/model.onnx": b"y" * 5000})
    lint("org/tiny", select=["CFG006"])
    assert asked(hub) == ["config.json"]
    lint("org/tiny", select=["TPL"])
    assert "model.safetensors" not in asked(hub)
    lint("org/tiny")
    assert "README.md" not in asked(hub)
    spans = [(request.path, request.range) for request in hub.requests if "/resolve/" in request.path]
    assert len(spans) == len(set(spans))


def test_the_revision_is_pinned_once_and_printed(hub: FakeHub) -> None:
    repository = hub.add("org/tiny", tiny.files())
    result = run("lint", "org/tiny", "--select", "CFG")
    assert f"org/tiny at {repository.sha}: read " in result.stdout
    assert result.stderr == ""
    first, *later = hub.requests
    assert first.path == "/api/models/org/tiny/revision/main?blobs=true"
    assert all(f"/resolve/{repository.sha}/" in request.path for request in later)
    hub.forget()
    document = json.loads(run("lint", "org/tiny", "--revision", repository.sha, "--format", "json").stdout)
    assert document["targets"][0]["hub"][0]["sha"] == repository.sha
    assert not any(request.path.startswith("/api") for request in hub.requests)


def test_a_second_run_without_the_network_says_the_same(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/faulty", files(write_overlay(tmp_path / "faulty", ZEROS)))
    first = lint("org/faulty")
    hub.forget()
    second = lint("org/faulty", offline=True)
    assert hub.requests == []
    assert second.findings == first.findings
    assert "untrained-rows" in [finding.slug for finding in second.findings]
    assert second.hub[0].read == 0


def test_a_renamed_repository_is_followed(hub: FakeHub) -> None:
    hub.add("new/name", tiny.files())
    hub.renamed["old/name"] = "new/name"
    report = lint("old/name")
    assert report.error is None
    assert report.hub[0].id == "new/name"
    assert [request.status for request in hub.requests].count(307) == 1


def test_every_byte_can_be_streamed(hub: FakeHub) -> None:
    hub.add("org/tiny", tiny.files())
    source = open_repository("org/tiny", Access())
    for name, content in tiny.files().items():
        assert b"".join(bytes(piece) for piece in source.stream(name, 0, len(content), 1000)) == content
        assert source.read(name, 5, 70) == content[5:70]
        assert source.outside(name) is None
    with pytest.raises(OSError, match="ends at byte"):
        source.read("config.json", 0, 1 << 20)


def test_names_that_lead_elsewhere_are_no_files_of_a_checkpoint(hub: FakeHub) -> None:
    names = ("../up", "additional_chat_templates/../../up", "a\\b", "..", "/etc/passwd", "deep/er/file", "good.jinja")
    hub.add("org/tiny", {**tiny.files(), **dict.fromkeys(names, b"x"), "additional_chat_templates/tool.jinja": b"x"})
    sizes = open_repository("org/tiny", Access()).sizes()
    assert set(sizes) - set(tiny.files()) == {"good.jinja", "additional_chat_templates/tool.jinja"}


def test_weights_are_streamed_in_steps_and_no_more_kept_than_has_room(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_overlay(tmp_path / "faulty", {"tensors.json": '{"model.norm.weight": ["BF16", [64], "nan"]}'})
    hub.add("org/faulty", files(folder))
    monkeypatch.setattr("modelcheck.sources.hub.STEP", 32768)
    monkeypatch.setattr("modelcheck.sources.hub.TOGETHER", 1024)
    for kept in (1 << 30, 20_000):
        monkeypatch.setattr("modelcheck.sources.hub.KEPT", kept)
        report = lint("org/faulty", weights="full")
        assert report.findings == lint(str(folder), weights="full").findings != []
        assert "non-finite-weights" in [finding.slug for finding in report.findings]
        cache.clear()
    assert hub.sent < 4 * (folder / "model.safetensors").stat().st_size


def test_an_adapter_may_not_point_elsewhere_by_its_revision(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/base", tiny.files())
    config = json.loads(adapter("org/base")["adapter_config.json"])
    hub.add("org/adapter", {"adapter_config.json": json.dumps({**config, "revision": "../../x?a=b"}).encode()})
    [reason] = [s.reason for s in lint("org/adapter").skipped if s.slug == "lora-target-misses"]
    assert "has no revision '../../x?a=b'" in reason


def test_render(hub: FakeHub) -> None:
    hub.add("org/tiny", tiny.files())
    result = run("render", "org/tiny")
    assert result.code == 0
    assert "<|im_start|>" in result.stdout
    assert sorted(asked(hub)) == ["config.json", "tokenizer.json", "tokenizer_config.json"]


# -- The hub's own cache -------------------------------------------------------------------------------------------

DOWNLOAD = """
import sys, huggingface_hub as h
name, _, revision = sys.argv[1].partition("@")
h.snapshot_download(name, revision=revision or None, allow_patterns=sys.argv[2:] or None)
"""


def download(repository: str, *patterns: str) -> None:
    """`ID` or `ID@REVISION` with the real client, in a process of its own: it reads HF_ENDPOINT when it is imported."""
    subprocess.run([sys.executable, "-c", DOWNLOAD, repository, *patterns], check=True, capture_output=True)


FETCH = """
import sys, huggingface_hub as h
for name in sys.argv[2:]:
    try: h.hf_hub_download(sys.argv[1], name)
    except h.errors.EntryNotFoundError: pass
"""


def fetch(repository: str, *names: str) -> None:
    """File by file, as `from_pretrained` does it; the cache is told of those that there are not as well."""
    subprocess.run([sys.executable, "-c", FETCH, repository, *names], check=True, capture_output=True)


def test_a_snapshot_of_the_real_client_is_read_without_a_request(hub: FakeHub, tmp_path: Path) -> None:
    repository = hub.add("org/tiny", tiny.files())
    download("org/tiny")
    before = on_disk(tmp_path / "hf")
    hub.forget()
    report = lint("org/tiny")
    assert hub.requests == []
    assert report.hub[0].sha == repository.sha
    assert report.error is None
    assert on_disk(tmp_path / "hf") == before
    assert on_disk(tmp_path / "cache") == []


PARTS = {
    "but one rule's": ("config.json", "tokenizer.json", "model.safetensors"),
    "config.json alone": ("config.json",),
}


@pytest.fixture
def faulty(hub: FakeHub, tmp_path: Path) -> Path:
    """The folder of what is `org/faulty` on the hub, whose fault is in tokenizer_config.json."""
    folder = write_overlay(tmp_path / "faulty", {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'})
    hub.add("org/faulty", files(folder))
    return folder


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_part_of_a_snapshot_does_not_read_as_all(hub: FakeHub, faulty: Path, part: tuple[str, ...]) -> None:
    download("org/faulty", *part)
    report = lint("org/faulty")
    assert report.findings == lint(str(faulty)).findings
    assert "pad-is-eos" in [finding.slug for finding in report.findings]
    offline = lint("org/faulty", offline=True)
    assert offline.findings == report.findings


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_what_is_not_in_a_part_of_a_snapshot_is_not_checked_offline(
    hub: FakeHub, faulty: Path, part: tuple[str, ...]
) -> None:
    """As `snapshot_download` leaves it, with a list of all files, and as `hf_hub_download` does, with none."""
    download("org/faulty", *part)
    hub.forget()
    trees = next(Path(os.environ["HF_HUB_CACHE"]).glob("models--*/trees"))
    for told in ("tokenizer_config.json is not cached", "nobody knows whether there is such a file"):
        report = lint("org/faulty", offline=True)
        assert f"{told}; run once without --offline" in (report.error or "")
        skipped = [skipped.slug for skipped in report.skipped]
        assert "pad-is-eos" in skipped
        assert "rope-type-conflict" not in skipped
        shutil.rmtree(trees, ignore_errors=True)
    assert hub.requests == []


def test_what_the_client_was_told_is_not_there_is_known_offline(hub: FakeHub) -> None:
    """As `from_pretrained` leaves it: some files, and the names of some that there are not."""
    content = {name: data for name, data in tiny.files().items() if name != "generation_config.json"}
    hub.add("org/tiny", content)
    fetch("org/tiny", *content, "generation_config.json", "model.safetensors.index.json")
    hub.forget()
    slugs = {skipped.slug: skipped.reason for skipped in lint("org/tiny", offline=True).skipped}
    assert hub.requests == []
    assert "missing-tensor" not in slugs
    assert "vllm-generation-defaults" not in slugs
    assert "nobody knows whether there is such a file" in slugs["double-bos"]
    assert lint("org/tiny").error is None
    [listed] = [request.path.partition("?")[0] for request in hub.requests]
    assert listed == f"/api/models/org/tiny/revision/{hub.repositories['org/tiny'].sha}"
    hub.forget()
    assert lint("org/tiny", offline=True).skipped == lint("org/tiny").skipped  # what there is, it was told
    assert hub.requests == []


def test_a_whole_model_is_read_at_the_commit_of_the_cache_though_the_branch_has_moved(hub: FakeHub) -> None:
    old = hub.add("org/tiny", tiny.files())
    fetch("org/tiny", *tiny.files())  # older clients leave no list of the commit's files
    hub.add("org/tiny", {**tiny.files(), "config.json": b"{}"}, revisions={"old": old})
    for _ in range(2):
        assert lint("org/tiny").hub[0].sha == old.sha
    assert asked(hub)[len(tiny.files()) :] == []


def test_of_a_part_of_a_snapshot_only_the_rest_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/tiny", tiny.files())
    download("org/tiny", "tokenizer*")
    before = on_disk(tmp_path / "hf")
    hub.forget()
    lint("org/tiny")
    assert asked(hub) == ["config.json", "generation_config.json", "model.safetensors"]
    assert on_disk(tmp_path / "hf") == before


def test_a_lint_of_what_the_client_needs_later_leaves_its_cache_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/tiny", tiny.files())
    lint("org/tiny")
    assert on_disk(tmp_path / "hf") == []
    download("org/tiny")
    assert lint("org/tiny").hub[0].read == 0


# -- Adapters ------------------------------------------------------------------------------------------------------


def adapter(base: str) -> dict[str, bytes]:
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["nowhere"], "base_model_name_or_path": base}
    return {"adapter_config.json": json.dumps(config).encode()}


def test_an_adapter_is_followed_to_its_base(hub: FakeHub) -> None:
    hub.add("org/base", tiny.files())
    hub.add("org/adapter", adapter("org/base"))
    report = lint("org/adapter")
    assert "lora-target-misses" in [finding.slug for finding in report.findings]
    assert [one.id for one in report.hub] == ["org/adapter", "org/base"]


def test_an_adapter_whose_base_is_gated_says_why(hub: FakeHub) -> None:
    hub.add("org/base", tiny.files(), gated=True)
    hub.add("org/adapter", adapter("org/base"))
    report = lint("org/adapter")
    assert report.error is None
    [reason] = [skipped.reason for skipped in report.skipped if skipped.slug == "lora-target-misses"]
    assert "org/base: is gated" in reason


def test_a_folder_asks_nobody_unless_the_base_is_named(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/base", tiny.files())
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_bytes(adapter("org/base")["adapter_config.json"])
    alone = lint(str(tmp_path / "adapter"))
    assert hub.requests == []
    assert any("or a hub id" in skipped.reason for skipped in alone.skipped)
    report = lint(str(tmp_path / "adapter"), base="org/base")
    assert "lora-target-misses" in [finding.slug for finding in report.findings]
    hub.forget()
    again = lint(str(tmp_path / "adapter"))  # by now it is cached
    assert again.findings == report.findings
    assert hub.requests == []


def test_of_a_base_that_is_here_in_part_the_rest_is_not_checked(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/base", tiny.files())
    fetch("org/base", "config.json", "tokenizer.json")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_bytes(adapter("org/base")["adapter_config.json"])
    hub.forget()
    for _ in range(2):
        report = lint(str(tmp_path / "adapter"))
        assert report.error is None  # nobody was asked, so nobody has failed
        [reason] = [skipped.reason for skipped in report.skipped if skipped.slug == "lora-target-misses"]
        assert "(--base org/base)" in reason
        assert hub.requests == []
        lint("org/base", select=["CFG006"])  # now it is known which files there are, not what is in them
        hub.forget()


# -- The token -----------------------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    weights = tiny.safetensors({"model.embed_tokens.weight": tiny.tensors()["model.embed_tokens.weight"]})
    heavy = {**tiny.files(), "model.safetensors": weights + b"\0" * (11 << 20)}
    with FakeHub() as elsewhere:
        hub.elsewhere = elsewhere
        hub.add("org/secret", heavy, private=True)
        elsewhere.add("org/secret", heavy).sha = hub.repositories["org/secret"].sha
        lint("org/secret")
        assert {request.authorization for request in hub.requests} == {f"Bearer {TOKEN}"}
        assert [request.status for request in elsewhere.requests] == [206]
        assert {request.authorization for request in elsewhere.requests} == {None}
