"""The full scan of an embedding of 128256 x 4096 in bf16: time against reading its bytes, and peak memory."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from checkpoints import VOCABULARY, embedding
from measure import REPETITIONS, Row, answer, show

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
    for piece in files.stream(NAME, 0, files.size(NAME), 1 << 20):
        pass

def timed(work):
    if sys.argv[2] == "cold":
        forget()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

def scan():
    untrained(Embeddings(files, tensor))
"""
TIME = PREPARED + "timed(read); print(json.dumps([timed(read), timed(scan)]))"
MEMORY = PREPARED + "before = peak(); scan(); print(peak() - before)"


def rows() -> Iterator[Row]:
    """Rows 4 and 5 of the table."""
    with TemporaryDirectory() as name:
        folder = embedding(Path(name) / "large")
        small = embedding(Path(name) / "small", VOCABULARY // 4)
        for state, bound in (("warm", 4), ("cold", 1.3)):
            pairs = [json.loads(answer(TIME, str(folder), state)) for _ in range(REPETITIONS)]
            read, scan = map(statistics.median, zip(*pairs, strict=True))
            yield Row(f"scan of 128256 x 4096 bf16, {state}", scan, "reading those bytes", read, bound)
        for what, place in (("1 GB", folder), ("0.25 GB", small)):
            megabytes = statistics.median(float(answer(MEMORY, str(place), "warm")) for _ in range(3))
            yield Row(f"peak memory of the scan of {what}", megabytes, "", None, 64, "MB")


if __name__ == "__main__":
    show(rows())
