"""The report for machines: SARIF, GitHub annotations, baselines, statistics, per-model ignores."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import run

from modelcheck.json_text import pointer_offset
from modelcheck.testing import write_overlay

# What SARIF 2.1.0 (sections 3.13 to 3.52) demands of the properties that we write, and no other property.
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "additionalProperties": False,
                    "properties": {"driver": {"$ref": "#/$defs/driver"}},
                },
                "invocations": {"type": "array", "items": {"$ref": "#/$defs/invocation"}},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "shortDescription": TEXT,
                "fullDescription": TEXT,
                "help": TEXT,
                "defaultConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"level": LEVEL},
                },
            },
        },
        "invocation": {
            "type": "object",
            "required": ["executionSuccessful"],
            "additionalProperties": False,
            "properties": {
                "executionSuccessful": {"type": "boolean"},
                "toolExecutionNotifications": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["message"],
                        "additionalProperties": False,
                        "properties": {"level": LEVEL, "message": TEXT},
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": LEVEL,
                "message": TEXT,
                "locations": {"type": "array", "items": {"$ref": "#/$defs/location"}},
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "properties": {"type": "object"},
            },
        },
        "location": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
                        },
                        "region": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "startLine": {"type": "integer", "minimum": 1},
                                "startColumn": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                },
                "logicalLocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"fullyQualifiedName": {"type": "string"}, "kind": {"type": "string"}},
                    },
                },
            },
        },
    },
}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    assert run("demo", "planted").code == 0
    return "planted"


class TestSarif:
    def test_fits_the_standard_and_places_findings(self, demo: str) -> None:
        result = run("lint", demo, "nowhere", "--format", "sarif", "--output-file", "report.sarif")
        assert result.code == 2
        log = json.loads(Path("report.sarif").read_text())
        jsonschema.validate(log, SARIF)
        [sarif] = log["runs"]
        rules = sarif["tool"]["driver"]["rules"]
        assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in sarif["results"])
        assert not sarif["invocations"][0]["executionSuccessful"]
        [pad] = [r for r in sarif["results"] if rules[r["ruleIndex"]]["name"] == "pad-is-eos"]
        [location] = pad["locations"]
        assert location["logicalLocations"] == [{"fullyQualifiedName": "/pad_token", "kind": "member"}]
        line = location["physicalLocation"]["region"]["startLine"]
        text = Path(demo, "tokenizer_config.json").read_text().splitlines()[line - 1]
        assert '"pad_token"' in text

    def test_a_tensor_has_no_line(self, demo: str) -> None:
        log = json.loads(run("lint", demo, "--select", "untrained-rows", "--format", "sarif").stdout)
        location = log["runs"][0]["results"][0]["locations"][0]
        assert "region" not in location["physicalLocation"]
        assert location["logicalLocations"][0] == {"fullyQualifiedName": "model.embed_tokens.weight", "kind": "element"}


def test_github_annotations_name_file_line_and_rule(demo: str) -> None:
    lines = run("lint", demo, "--format", "github").stdout.splitlines()
    [pad] = [line for line in lines if "pad-is-eos" in line]
    assert re.match(r"::error file=planted/tokenizer_config\.json,line=\d+,col=\d+,title=TOK001 pad-is-eos::", pad)
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)


def test_a_file_of_the_set_up_is_named_where_it_is(demo: str) -> None:
    Path("planned.json").write_text('{"r": 8,\n "target_modules": ["no_such_layer"]}')
    lines = run("lint", demo, "--lora", "planned.json", "--select", "ADP", "--format", "github").stdout.splitlines()
    assert lines
    assert all("file=planned.json,line=2," in line for line in lines)


def test_a_hostile_message_cannot_write_a_command_of_its_own(tmp_path: Path) -> None:
    hostile = {"tokenizer_config.json": json.dumps({"unk_token": "x\n::set-env name=PATH::"})}
    lines = run("lint", str(write_overlay(tmp_path / "hostile", hostile)), "--format", "github").stdout.splitlines()
    assert all(line.startswith("::") and "set-env" not in line[:12] for line in lines)


def test_statistics_count_by_rule(demo: str) -> None:
    lines = run("lint", demo, "--statistics").stdout.splitlines()
    assert "     1  TOK001  pad-is-eos" in lines
    assert lines == sorted(lines, key=lambda line: -int(line.split()[0]))


class TestBaseline:
    def test_known_findings_are_left_out_and_new_ones_are_not(self, demo: str) -> None:
        assert run("lint", demo, "--baseline", "known.json", "--write-baseline").code == 0
        known = run("lint", demo, "--baseline", "known.json")
        assert known.code == 0
        assert "known from the baseline" in known.stdout
        config = Path(demo, "config.json")
        config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": "many"}))
        assert run("lint", demo, "--baseline", "known.json").code == 1

    def test_it_survives_reordering_and_edits_elsewhere(self, demo: str) -> None:
        run("lint", demo, "--baseline", "known.json", "--write-baseline")
        entries = json.loads(Path("known.json").read_text())
        entries["findings"].reverse()
        Path("known.json").write_text(json.dumps(entries))
        tokenizer_config = Path(demo, "tokenizer_config.json")
        tokenizer_config.write_text(json.dumps(json.loads(tokenizer_config.read_text()), sort_keys=True, indent=8))
        assert run("lint", demo, "--baseline", "known.json").code == 0

    def test_a_target_is_the_same_however_the_shell_writes_it(self, demo: str) -> None:
        run("lint", demo, "--baseline", "known.json", "--write-baseline")
        Path("known.json").write_text("\ufeff" + Path("known.json").read_text(), encoding="utf-8")
        assert [run("lint", name, "--baseline", "known.json").code for name in (f"{demo}/", f"./{demo}")] == [0, 0]

    def test_what_is_no_baseline_is_told(self, demo: str) -> None:
        assert "--write-baseline writes one" in run("lint", demo, "--baseline", "none.json").stderr
        assert "needs --baseline FILE" in run("lint", demo, "--write-baseline").stderr


class TestPerModelIgnore:
    def test_leaves_rules_out_for_some_models_with_the_reason(self, tmp_path: Path, demo: str) -> None:
        settings = '[[per-model-ignore]]\nmodel = "plan*"\nrules = ["ALL"]\nreason = "a demo"\n'
        Path("modelcheck.toml").write_text(settings)
        result = run("lint", demo)
        assert result.code == 0
        assert "ignored: a demo" in result.stdout
        other = write_overlay(tmp_path / "other", {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'})
        assert run("lint", str(other)).code == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('model = "x"\nrules = ["TOK"]', "an ignore without a reason is refused"),
            ('model = "x"\nrules = "TOK"\nreason = "y"', "expected a list of codes"),
            ('modle = "x"', "did you mean 'model'"),
            ('model = "planted"\nrules = ["TOK9"]\nreason = "y"', "no rule or family is called 'TOK9'"),
            ('model = "others"\nrules = ["TOK9"]\nreason = "y"', "no rule or family is called 'TOK9'"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, demo: str, text: str, told: str) -> None:
        Path("modelcheck.toml").write_text(f"[[per-model-ignore]]\n{text}\n")
        result = run("lint", demo)
        assert result.code == 2
        assert told in result.stderr


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("", "{"), ("/b", "[1"), ("/b/1", "{"), ("/b/1/c~1d", "2"), ("/a", '"x'), ("/missing", "{"), ("/b/9", "[1")],
)
def test_a_pointer_is_found_in_the_text(pointer: str, value: str) -> None:
    text = '\n {"a": "x, {", "b": [1, {"c/d": 2}], "e": {}}'
    assert text[pointer_offset(text, pointer) :].startswith(value)
