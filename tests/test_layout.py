"""The house stands as the design says: packs, links, packages, and who may import what."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from modelcheck.check import Check
from modelcheck.testing import write_overlay

ROOT = Path(__file__).parent.parent
PACKS = ("checks", "fixers", "plugins")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
RULES = sorted(p for p in (ROOT / "checks").glob("*/*.py") if not p.name.startswith("_"))
FAMILIES = sorted(p.parent.name for p in (ROOT / "checks").glob("*/__init__.py"))
PACKS_AND_HEAVY = (
    "modelcheck.checks",
    "modelcheck.fixers",
    "modelcheck.plugins",
    "numpy",
    "torch",
    "transformers",
    "jinja2",
    "pygal",
    "tokenizers",
)


@pytest.mark.parametrize("file", RULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_rule_file_holds_one_check_of_its_name_which_its_family_imports(file: Path) -> None:
    family = importlib.import_module(f"modelcheck.checks.{file.parent.name}")
    module = sys.modules[f"{family.__name__}.{file.stem}"]  # a key only if the family has imported it
    own = [v for v in vars(module).values() if isinstance(v, Check) and v.function.__module__ == module.__name__]
    assert [check.function.__name__ for check in own] == [file.stem]
    assert getattr(family, file.stem) is own[0]
    assert file.stem in family.__all__
    assert own[0].family == file.parent.name


def test_every_package_on_disk_is_packaged() -> None:
    core = [p.parent.relative_to(ROOT) for p in (ROOT / "modelcheck").rglob("__init__.py")]
    packs = ["modelcheck" / p.parent.relative_to(ROOT) for name in PACKS for p in (ROOT / name).rglob("__init__.py")]
    on_disk = {".".join(folder.parts) for folder in [*core, *packs]}
    assert sorted(on_disk) == SETTINGS["tool"]["setuptools"]["packages"]


def test_every_family_has_an_entry_point() -> None:
    expected = {name: f"modelcheck.checks.{name}" for name in FAMILIES}
    assert SETTINGS["project"]["entry-points"]["modelcheck.checks"] == expected


def test_every_file_of_fixers_has_an_entry_point() -> None:
    files = {p.stem for p in (ROOT / "fixers").glob("*.py") if not p.name.startswith("_")}
    expected = {name: f"modelcheck.fixers.{name}" for name in files}
    assert SETTINGS["project"]["entry-points"]["modelcheck.fixers"] == expected


def test_every_folder_of_ours_is_type_checked() -> None:
    # The packs are seen through the links in modelcheck/.
    folders = {p.parent.name for p in ROOT.glob("*/*.py") if not p.parent.name.startswith(".")} - set(PACKS)
    assert folders - {"build", "dist"} <= set(SETTINGS["tool"]["mypy"]["files"])


@pytest.mark.parametrize("pack", PACKS)
def test_links_into_the_core(pack: str) -> None:
    assert (ROOT / "modelcheck" / pack).readlink() == Path("..", pack)


def test_no_file_is_long() -> None:
    tracked = subprocess.check_output(["git", "ls-files", "*.py", "*.md", "*.toml"], cwd=ROOT, text=True).split()
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in tracked if (ROOT / name).is_file()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_the_packs_are_not_installed_at_the_top() -> None:
    site_packages = Path(sysconfig.get_path("purelib"))
    assert [name for name in PACKS if (site_packages / name).exists()] == []


def imported_by(code: str, *arguments: str) -> set[str]:
    """The modules that a new interpreter holds after running the code, which may exit."""
    code = f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n{code}"
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def below(modules: set[str], *packages: str) -> list[str]:
    """Those of the modules that are one of the packages or in one."""
    return sorted(m for m in modules if any(m == p or m.startswith(f"{p}.") for p in packages))


def test_importing_the_core_imports_no_pack_and_nothing_heavy() -> None:
    assert below(imported_by("import modelcheck"), *PACKS_AND_HEAVY) == []


def test_version_imports_no_pack_and_nothing_heavy() -> None:
    code = "import runpy; sys.argv = ['modelcheck', '--version']; runpy.run_module('modelcheck', run_name='__main__')"
    assert below(imported_by(code), *PACKS_AND_HEAVY) == []


def test_lint_needs_no_framework(tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "tiny", {})
    modules = imported_by("import modelcheck; assert not modelcheck.lint(sys.argv[1]).findings", str(folder))
    assert below(modules, "modelcheck.checks") != []
    assert below(modules, "modelcheck.finetune") == []
    assert below(modules, "torch", "transformers", "pandas", "pydantic") == []


def test_comparing_two_runs_needs_nothing_but_python() -> None:
    modules = imported_by("import modelcheck.finetune.report, modelcheck.finetune.plan")
    assert below(modules, "modelcheck.finetune") != []
    assert below(modules, *PACKS_AND_HEAVY, "scipy", "jsonschema") == []


HEAVY = ("numpy", "torch", "transformers", "modelcheck.engine", "modelcheck.finetune.run", "modelcheck.packs")
PROBE = f"""
import sys, pytest
code = pytest.main(["-q", "-p", "no:cacheprovider", "test_nothing.py"])
print(code, "modelcheck.plugins.pytest" in sys.modules, [name for name in {HEAVY!r} if name in sys.modules])
"""


def test_a_pytest_without_the_flags_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    run = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "0 True []", run.stdout + run.stderr
