"""Settings from the nearest modelcheck.toml or pyproject.toml `[tool.modelcheck]`, upwards from the working folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from modelcheck import ignores
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.facts.files import json_type
from modelcheck.ignores import ModelIgnore
from modelcheck.names import WEIGHTS

FAIL_ON = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a settings file may say; the names are those of the command line, and so are the defaults."""

    select: list[str] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)
    extend_select: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    fail_on: str = "error"
    weights: str | None = None
    pedantic: bool = False
    strict: bool = False
    per_model_ignore: tuple[ModelIgnore, ...] = ()


# {name in a file: name of the field}.
KNOWN = {f.name.replace("_", "-"): f.name for f in fields(Settings)}
CHOICES = {"fail_on": FAIL_ON, "weights": WEIGHTS}


def find(folder: Path) -> Settings:
    """The settings in force in a folder. Raises UsageError naming file and key of what is wrong."""
    for place in (folder, *folder.parents):
        for name in ("modelcheck.toml", "pyproject.toml"):
            if (place / name).is_file() and (table := _table(place / name)) is not None:
                return _read(place / name, table)
    return Settings()


def _table(path: Path) -> Mapping[str, Any] | None:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if path.name == "modelcheck.toml":
        return document
    tool = document.get("tool")
    table: Mapping[str, Any] | None = tool.get("modelcheck") if isinstance(tool, dict) else None
    if not isinstance(table, dict | None):
        raise UsageError(f"{path}: tool.modelcheck is a {json_type(table)}, expected a table: [tool.modelcheck]")
    return table


def _read(path: Path, table: Mapping[str, Any]) -> Settings:
    # Jobs of fine-tune evaluations share modelcheck.toml; they are read elsewhere.
    values = {key: value for key, value in table.items() if key != "job"}
    for key in values:
        if key not in KNOWN:
            raise UsageError(f"{path}: unknown setting {key!r}{did_you_mean(key, KNOWN)}; known are {', '.join(KNOWN)}")
    return Settings(**{KNOWN[key]: _value(path, key, KNOWN[key], value) for key, value in values.items()})


def _value(path: Path, key: str, name: str, value: Any) -> Any:
    if name == "per_model_ignore":
        return ignores.parse(path, value)
    default = getattr(Settings(), name)
    if isinstance(default, list):
        right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        wanted = "a list of strings"
    elif name in CHOICES:
        right, wanted = value in CHOICES[name], " or ".join(CHOICES[name])
    else:
        right, wanted = isinstance(value, bool), "true or false"
    if not right:
        raise UsageError(f"{path}: {key} is {value!r} (a {json_type(value)}), expected {wanted}")
    return value
