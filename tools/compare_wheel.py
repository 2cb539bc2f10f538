"""Compare a wheel's names with the repository's: every module and table once, under modelcheck/, and nothing else.

Usage: python tools/compare_wheel.py WHEEL [REPOSITORY]
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

PACKS = ("checks", "fixers", "plugins")
DATA = ("modelcheck/data/", "modelcheck/output/templates/", "modelcheck/finetune/judge/prompt.md")


def expected(repository: Path) -> set[str]:
    """The names that the tracked files of the core and the packs have in a wheel."""
    command = ["git", "ls-files", "--", "modelcheck", *PACKS]
    tracked = subprocess.check_output(command, cwd=repository, text=True).splitlines()
    ours = [name for name in tracked if name.endswith((".py", "/py.typed")) or name.startswith(DATA)]
    return {name if name.startswith("modelcheck/") else f"modelcheck/{name}" for name in ours}


def differences(wheel: Path, repository: Path) -> list[str]:
    """One line for each name that is missing, strange or there twice."""
    names = Counter(zipfile.ZipFile(wheel).namelist())
    modules = {name for name in names if ".dist-info/" not in name}
    wanted = expected(repository)
    return [
        *(f"missing: {name}" for name in sorted(wanted - modules)),
        *(f"not in the repository: {name}" for name in sorted(modules - wanted)),
        *(f"{count} times: {name}" for name, count in names.items() if count > 1),
        *(f"no {part} in the metadata" for part in ("LICENSE", "entry_points.txt") if not _holds(modules, names, part)),
    ]


def _holds(modules: set[str], names: Counter[str], part: str) -> bool:
    return any(name.endswith(f"/{part}") for name in names.keys() - modules)


def main() -> int:
    """0 where the two agree."""
    wheel, repository = Path(sys.argv[1]), Path(*sys.argv[2:3])
    found = differences(wheel, repository)
    print("\n".join(found) or f"{wheel.name}: {len(expected(repository))} files, as in the repository")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
