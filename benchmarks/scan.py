"""The full scan of an embedding of 128256 x 4096 in bf16: time against reading its bytes, and peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from checkpoints import VOCABULARY, embedding
from measure import ENVIRONMENT, Row, answer, show
from peers import peer

PROCESSES, PAIRS = 5, 7

# What the process has imported before its memory and time count.
PREPARED = """
import json, os, sys, time
import numpy, modelcheck.facts
from modelcheck.facts.embeddings import Embeddings
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import read_header
from modelcheck.facts.untrained import untrained
from modelcheck.sources.local import LocalFolder

NAME = "model.safetensors"
files = Files(LocalFolder(sys.argv[1]))
[tensor] = read_header(files, NAME).values()

def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

def forget():
    with open(os.path.join(sys.argv[1], NAME)) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

def read():
    buffer, at = bytearray(1 << 20), 0
    with open(os.path.join(sys.argv[1], NAME), "rb", buffering=0) as file:
        while got := os.preadv(file.fileno(), [buffer], at):
            at += got

def timed(work):
    if sys.argv[2] == "cold":
        forget()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

def scan():
    untrained(Embeddings(files, tensor))
"""
TIME = PREPARED + "timed(read); print(json.dumps([[timed(read), timed(scan)] for _ in range(int(sys.argv[3]))]))"
# What one would write with torch: the whole matrix in float32, its norms, its repeated rows.
TORCH = """
import json, sys, time
import torch
from safetensors import safe_open

torch.set_num_threads(1)
def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

before, started = peak(), time.perf_counter()
with safe_open(sys.argv[1] + "/model.safetensors", "pt") as file:
    matrix = file.get_tensor("model.embed_tokens.weight").float()
norms = matrix.norm(dim=1)
dead, repeated = (norms < norms.median() / 1000).sum(), len(matrix) - len(torch.unique(matrix[:, :8], dim=0))
print(json.dumps([time.perf_counter() - started, peak() - before]))
"""
MEMORY = PREPARED + "before = peak(); scan(); print(peak() - before)"


def rows() -> Iterator[Row]:
    """Rows 4 and 5 of the table, and the same with torch."""
    with TemporaryDirectory() as name:
        folder = embedding(Path(name) / "large")
        small = embedding(Path(name) / "small", VOCABULARY // 4)
        scans = {}
        for state, bound in (("warm", 4), ("cold", 1.3)):
            read, scan = _times(folder, state)
            scans[state] = statistics.median(scan)
            yield Row.paired(f"scan of 128256 x 4096 bf16, {state}", scan, "reading those bytes", read, bound)
        peaks = {
            place: statistics.median(float(answer(MEMORY, str(place), "warm")) for _ in range(3))
            for place in (folder, small)
        }
        for what, place in (("1 GB", folder), ("0.25 GB", small)):
            yield Row(f"peak memory of the scan of {what}", peaks[place], "", None, 64, "MB")
        seconds, megabytes = map(statistics.median, zip(*(_torch(folder) for _ in range(3)), strict=True))
        yield Row("scan, warm", scans["warm"], "torch, whole matrix: norms and repeated rows", seconds, 1)
        yield Row("peak memory of the scan of 1 GB", peaks[folder], "torch, the same", megabytes, 0.1, "MB")


def _times(folder: Path, state: str) -> tuple[list[float], list[float]]:
    """Seconds of reading and of scanning, in pairs: a few in each of a few processes."""
    pairs = [pair for _ in range(PROCESSES) for pair in json.loads(answer(TIME, str(folder), state, str(PAIRS)))]
    return [read for read, _ in pairs], [scan for _, scan in pairs]


def _torch(folder: Path) -> list[float]:
    done = subprocess.run(peer("-c", TORCH, str(folder)), env=ENVIRONMENT, capture_output=True, text=True, check=True)
    measured: list[float] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    show(rows())
