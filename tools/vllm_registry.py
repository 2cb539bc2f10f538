"""Make modelcheck/data/vllm/VERSION.json: the architectures that a version of vLLM knows, read out of its registry.py.

Usage: python tools/vllm_registry.py [--check] [VERSION ...]

The one file is read out of the wheel on the package index that pip is configured with, by ranged requests, and parsed
with `ast`: nothing of vLLM is imported or installed. With --check nothing is written and differences are shown.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = ROOT / "modelcheck" / "data" / "vllm"
CACHE = ROOT / ".cache" / "vllm"
MEMBER = "vllm/model_executor/models/registry.py"
VERSIONS = ("0.10.2", "0.16.0", "0.24.0", "0.33.0")
ALL, FALLBACK, BACKEND = "_VLLM_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS", "_TRANSFORMERS_BACKEND_MODELS"
DROPPED, OUT_OF_TREE, MULTIMODAL = "_PREVIOUSLY_SUPPORTED_MODELS", "_OOT_SUPPORTED_MODELS", "_MULTIMODAL_MODELS"
# Central directory and member of a wheel of 300 MB take three requests of this size.
BUFFER = 1 << 18


class Remote(io.RawIOBase):
    """A file on a server, read by ranges."""

    def __init__(self, address: str) -> None:
        self.address, self.place = address, 0
        with self._request(0, 0) as answer:
            self.size = int(answer.headers["Content-Range"].rpartition("/")[2])

    def _request(self, first: int, last: int) -> Any:
        if not self.address.startswith("https://"):
            raise ValueError(f"{self.address}: expected an https address")
        request = urllib.request.Request(self.address, headers={"Range": f"bytes={first}-{last}"})
        return urllib.request.urlopen(request, timeout=120)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place of the next read."""
        return self.place

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move without reading."""
        self.place = (0, self.place, self.size)[whence] + offset
        return self.place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer by one request."""
        last = min(self.size, self.place + len(buffer)) - 1
        if last < self.place:
            return 0
        with self._request(self.place, last) as answer:
            data: bytes = answer.read()
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def wheel(version: str) -> str:
    """The address of the wheel, as pip resolves it. It downloads no more than the metadata."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
    report = subprocess.check_output([*command, "--only-binary", ":all:", "--report", "-", f"vllm=={version}"])
    address: str = json.loads(report)["install"][0]["download_info"]["url"]
    return address


def source(version: str) -> str:
    """The text of registry.py, kept in .cache/."""
    cached = CACHE / version / "registry.py"
    if not cached.is_file():
        with zipfile.ZipFile(io.BufferedReader(Remote(wheel(version)), BUFFER)) as packed:
            text = packed.read(MEMBER)
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(text)
    return cached.read_text(encoding="utf-8")


def dictionaries(text: str) -> dict[str, dict[str, Any]]:
    """{name: value} of the module's dictionaries of literals, which may hold one another."""
    found: dict[str, dict[str, Any]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict):
            found[node.targets[0].id] = dict(_items(node.value, found))
    return found


def _items(node: ast.Dict, known: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for key, value in zip(node.keys, node.values, strict=True):
        if key is not None:
            yield ast.literal_eval(key), ast.literal_eval(value)
        elif isinstance(value, ast.Name):
            yield from known[value.id].items()


def table(version: str, text: str) -> dict[str, Any]:
    """What modelcheck ships of a registry."""
    found = dictionaries(text)
    # Version 0.10.2 has no list of plugins.
    fallback, backend = set(found[FALLBACK]), set(found[BACKEND])
    return {
        "vllm": version,
        "native": sorted(set(found[ALL]) - fallback - backend),
        "transformers": sorted(fallback),
        "backend": sorted(backend),
        "multimodal": sorted(found[MULTIMODAL]),
        "dropped": dict(sorted(found[DROPPED].items())),
        "out_of_tree": dict(sorted(found.get(OUT_OF_TREE, {}).items())),
    }


def main() -> int:
    """Write the tables, or compare them: 1 where they differ."""
    check, versions = "--check" in sys.argv, [a for a in sys.argv[1:] if a != "--check"] or list(VERSIONS)
    differ = False
    for version in versions:
        file = DATA / f"{version}.json"
        new = json.dumps(table(version, source(version)), indent=0) + "\n"
        old = file.read_text(encoding="utf-8") if file.is_file() else ""
        differ |= old != new
        if check:
            lines = difflib.unified_diff(old.splitlines(), new.splitlines(), file.name, "made anew", lineterm="", n=0)
            print("\n".join(lines) or f"{file.name}: unchanged")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(new, encoding="utf-8")
    return int(check and differ)


if __name__ == "__main__":
    sys.exit(main())
