"""`modelcheck fix --write` of rows in a shard of 16 GB: bytes written against the rows, time against rewriting it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from checkpoints import HIDDEN, embedding
from measure import ENVIRONMENT, Row, python, show

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
FIX = """
import json, sys, time
from modelcheck.cli import cli

started = time.perf_counter()
try:
    cli(["fix", sys.argv[1], "--unsafe", "--all-untrained", "--select", "WGT001", "--write"], standalone_mode=False)
except SystemExit as end:
    assert end.code == 0, end.code
written = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())["wchar"]
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([time.perf_counter() - started, int(written), int(peak) / 1024]), file=sys.stderr)
"""
# The embedding's gigabyte, and what stands behind it in a shard: one tensor of zeros that takes no room on the disk.
REST = 15 << 30


def rows() -> Iterator[Row]:
    """What the bound on `fix` is about."""
    with TemporaryDirectory() as name:
        folder = embedding(Path(name) / "model")
        (folder / "config.json").write_text(json.dumps(CONFIG))
        shard = folder / "model.safetensors"
        copied = _rewriting(shard, folder / "copy")
        _grow(shard)
        done = subprocess.run(
            python("-c", FIX, str(folder)), env=ENVIRONMENT, capture_output=True, text=True, check=True
        )
        seconds, written, peak = json.loads(done.stderr.splitlines()[-1])
        [mended] = re.findall(r"model\.embed_tokens\.weight: (\d+) rows", done.stdout)
        weight = int(mended) * HIDDEN * 2
    yield Row(f"fix of {mended} rows in a shard of 16 GB", written / 1e6, "the rows", weight / 1e6, 3, "MB")
    yield Row("the same, in time", seconds, "rewriting 1 GB of it, 16 times", 16 * copied, 1)
    yield Row("the same, memory at the most", peak, "", None, 128, "MB")


def _grow(shard: Path) -> None:
    """Add a tensor that makes the shard 16 GB."""
    with shard.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        [embedded] = header.values()
        end = embedded["data_offsets"][1]
        header["model.rest.weight"] = {"dtype": "BF16", "shape": [REST // 2], "data_offsets": [end, end + REST]}
        text = json.dumps(header).encode()
    grown = shard.with_suffix(".grown")
    with shard.open("rb") as old, grown.open("wb") as new:
        old.seek(8 + length)
        new.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, new, 1 << 20)
        new.truncate(8 + len(text) + end + REST)
    grown.rename(shard)


def _rewriting(shard: Path, copy: Path) -> float:
    started = time.perf_counter()
    shutil.copyfile(shard, copy)
    with copy.open("rb+") as file:
        os.fsync(file)
    elapsed = time.perf_counter() - started
    copy.unlink()
    return elapsed


if __name__ == "__main__":
    show(rows())
