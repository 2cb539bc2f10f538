"""A real Dask cluster, and 200 checkpoints: the same findings, flat memory, and what two processes gain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakehub import FakeHub
from support import run
from test_fleet import checkpoints, without_times

from modelcheck import UsageError, fleet
from modelcheck.engine import Options, lint_targets
from modelcheck.fleet_backends import cluster
from modelcheck.report import TargetReport

pytestmark = pytest.mark.slow

MANY = 200
# Of its own process: the cluster's, which nothing of ours imports.
CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=int(sys.argv[1]), dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread each", "two threads each"])
def scheduler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    script = tmp_path_factory.mktemp("cluster") / "cluster.py"
    script.write_text(CLUSTER)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, script, str(request.param)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    yield process.stdout.readline().strip()
    process.communicate(timeout=60)


def test_a_cluster_gives_the_same_reports_in_the_same_order(tmp_path: Path, scheduler: str) -> None:
    targets = [*checkpoints(tmp_path, MANY), str(tmp_path / "none")]
    alone = list(lint_targets(targets, Options()))
    assert without_times(list(fleet.lint_many(targets, Options(), 1, scheduler))) == without_times(alone)


def test_hub_ids_on_a_cluster(hub: FakeHub, tmp_path: Path) -> None:
    # A cluster that begins here: its workers have the variables of the hub.
    pipe = subprocess.PIPE
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen([sys.executable, script, "1"], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    try:
        address = process.stdout.readline().strip()
        targets = [f"org/model-{number}" for number in range(6)]
        for number, target in enumerate(targets):
            hub.add(target, {path.name: path.read_bytes() for path in Path(checkpoints(tmp_path, 6)[number]).iterdir()})
        list(lint_targets(targets, Options()))  # so that both find the same in our cache
        alone = list(lint_targets(targets, Options()))
        assert without_times(list(fleet.lint_many(targets, Options(), 1, address))) == without_times(alone)
        assert [bool(report.findings) for report in alone] == [number % 3 == 0 for number in range(6)]
    finally:
        process.communicate(timeout=60)


def test_the_command_line_on_a_cluster(tmp_path: Path, scheduler: str) -> None:
    targets = checkpoints(tmp_path, 6)
    result = run("lint", *targets, "--backend", "dask", "--scheduler", scheduler, "--format", "json")
    reported = json.loads(result.stdout)["targets"]
    assert (result.code, [t["target"] for t in reported]) == (1, targets)
    assert [bool(t["findings"]) for t in reported] == [i % 3 == 0 for i in range(6)]


def test_a_folder_here_is_no_hub_id_there(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [faulty] = checkpoints(tmp_path / "org", 1)
    template = Path(faulty).with_name("mine.jinja")
    template.write_text("{{ messages }}")
    monkeypatch.chdir(tmp_path)  # the workers began elsewhere
    options = Options(chat_template="org/mine.jinja")
    [alone], [there] = lint_targets(["org/c000"], options), fleet.lint_many(["org/c000"], options, 1, scheduler)
    assert (there.target, there.source, there.error) == ("org/c000", "folder", None)
    assert [finding.slug for finding in there.findings] == [finding.slug for finding in alone.findings] != []


def test_a_target_that_kills_every_worker_it_meets_is_reported(scheduler: str) -> None:
    def work(target: str) -> TargetReport:
        if target == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        return TargetReport(target, "folder")

    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        targets = ["a", "killer", "b", "c"]
        reports = list(fleet.over(targets, work, 2, cluster(client)))
    assert [(r.target, bool(r.internal)) for r in reports] == [(t, t == "killer") for t in targets]


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PATIENCE", 2)
    with pytest.raises(UsageError, match=r"--scheduler tcp://127.0.0.1:9: does not answer"):
        list(fleet.lint_many(["a"], Options(), 1, "tcp://127.0.0.1:9"))


def command(folder: Path, count: int, jobs: int) -> tuple[float, float, Any]:
    """Wall seconds, megabytes of the largest process, and the targets of the JSON report, without times."""
    listed = folder / "targets.txt"
    listed.write_text("\n".join(checkpoints(folder, count)))
    program = "import sys; from modelcheck.cli import main; sys.argv[0] = 'modelcheck'; main()"
    called = ["-c", program, "lint", "--targets-file", str(listed), "--jobs", str(jobs), "--format", "json"]
    measured = f"""
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run({[sys.executable, *called]!r}, capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([time.perf_counter() - started, peak, json.loads(done.stdout)]))
"""
    answer = subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True, check=True).stdout
    seconds, peak, report = json.loads(answer)
    for target in report["targets"]:
        del target["seconds"]
    return seconds, peak, report["targets"]


def test_two_hundred_checkpoints_take_no_more_memory_than_ten(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    _, few, _ = command(tmp_path, 10, 2)
    alone, _, expected = command(tmp_path, MANY, 1)
    together, many, found = command(tmp_path, MANY, 2)
    ratio = alone / together
    gain = f"{ratio:.2f}x the throughput of --jobs 1 ({alone:.1f} and {together:.1f} s)"
    memory = f"largest process {many:.0f} MB, of 10: {few:.0f} MB"
    record_property("figure", f"{MANY} checkpoints: --jobs 2 has {gain}; {memory}")
    assert found == expected
    assert sum(bool(target["findings"]) for target in found) == len(range(0, MANY, 3))
    assert many < few + 32
