"""The command line as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import run

from modelcheck.cli import main
from modelcheck.testing import write_overlay

PAD_IS_EOS = {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'}
PAD_MISSING = {
    "tokenizer_config.json": '{"pad_token": null}',
    "config.json": '{"pad_token_id": null}',
    "generation_config.json": '{"pad_token_id": null}',
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without settings."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def healthy(tmp_path: Path) -> str:
    return str(write_overlay(tmp_path / "healthy", {}))


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    return str(write_overlay(tmp_path / "faulty", PAD_IS_EOS))


class TestExitCodes:
    def test_clean(self, healthy: str) -> None:
        result = run("lint", healthy)
        assert result.code == 0
        assert "no findings" in result.stdout

    def test_findings(self, faulty: str) -> None:
        result = run("lint", faulty)
        assert result.code == 1
        assert "error   TOK001 pad-is-eos  tokenizer_config.json:/pad_token" in result.stdout
        assert "1 error;" in result.stdout

    def test_exit_zero_forgives_findings_only(self, faulty: str) -> None:
        assert run("lint", faulty, "--exit-zero").code == 0
        assert run("lint", "/nowhere", "--exit-zero").code == 2

    def test_the_highest_of_several_targets_which_are_all_shown(self, healthy: str, faulty: str) -> None:
        result = run("lint", healthy, "/nowhere", faulty)
        assert result.code == 2
        assert result.stdout.index("healthy") < result.stdout.index("/nowhere") < result.stdout.index("faulty")
        assert "TOK001" in result.stdout

    def test_fail_on(self, tmp_path: Path) -> None:
        folder = str(write_overlay(tmp_path / "no-pad", PAD_MISSING))
        assert run("lint", folder).code == 0
        assert run("lint", folder, "--fail-on", "warning").code == 1

    def test_strict_fails_on_what_could_not_be_checked(self, tmp_path: Path) -> None:
        folder = str(write_overlay(tmp_path / "no-tokenizer", {"tokenizer.json": "null"}))
        lenient = run("lint", folder)
        assert lenient.code == 0
        assert "could not check" in lenient.stdout
        assert run("lint", folder, "--strict").code == 1

    def test_a_broken_file_is_a_finding_even_where_few_rules_were_selected(self, tmp_path: Path) -> None:
        folder = str(write_overlay(tmp_path / "broken", {"config.json": "{"}))
        result = run("lint", folder, "--select", "eos-disagrees")
        assert result.code == 1
        assert "FIL001 malformed-file  config.json:1:2" in result.stdout


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (
                ["lint", ".", "--select", "pad-is-eo"],
                "no rule or family is called 'pad-is-eo'; did you mean 'pad-is-eos'?",
            ),
            (["lint", ".", "--target", "vlm"], "did you mean 'vllm'?"),
            (["explain", "TOK01"], "no rule is called 'TOK01'; did you mean 'TOK001'?"),
            (["lint", "somebody/some-model"], "no such folder"),
            (["lint"], "there is nothing to lint"),
            (["lint", ".", "--weights", "some"], "'some' is not one of"),
        ],
    )
    def test_exit_2_and_one_line_that_says_what_to_do(self, arguments: list[str], told: str) -> None:
        result = run(*arguments)
        assert result.code == 2
        assert told in result.stdout + result.stderr

    def test_a_file_or_an_empty_folder_is_no_checkpoint(self, elsewhere: Path) -> None:
        (elsewhere / "model.safetensors").write_bytes(b"")
        assert "is a file; name the folder" in run("lint", "model.safetensors").stdout
        (elsewhere / "empty").mkdir()
        assert "the folder is empty" in run("lint", "empty").stdout


class TestSelection:
    @pytest.mark.parametrize("selector", ["TOK001", "TOK", "tokenizer", "pad-is-eos", "ALL"])
    def test_by_code_family_or_slug(self, faulty: str, selector: str) -> None:
        assert run("lint", faulty, "--select", selector).code == 1
        assert run("lint", faulty, "--ignore", selector).code == 0

    def test_extend_select_adds_to_the_selected(self, faulty: str) -> None:
        assert run("lint", faulty, "--select", "CFG").code == 0
        assert run("lint", faulty, "--select", "CFG", "--extend-select", "TOK001").code == 1


class TestSettings:
    def test_the_nearest_file_counts_and_the_command_line_wins(self, faulty: str, elsewhere: Path) -> None:
        (elsewhere.parent / "pyproject.toml").write_text('[tool.modelcheck]\nignore = ["pad-is-eos"]\n')
        (elsewhere / "pyproject.toml").write_text("[tool.other]\n")
        assert run("lint", faulty).code == 0
        assert run("lint", faulty, "--ignore", "double-bos").code == 1
        (elsewhere / "modelcheck.toml").write_text('fail-on = "info"\n')
        assert run("lint", faulty).code == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('igmore = ["TOK001"]', "unknown setting 'igmore'; did you mean 'ignore'?"),
            ('ignore = "TOK001"', "ignore is 'TOK001' (a string), expected a list of strings"),
            ('fail-on = "fatal"', "fail-on is 'fatal' (a string), expected error or warning or info"),
            ("strict = 1", "strict is 1 (a number), expected true or false"),
            ("select = [", "modelcheck.toml"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, healthy: str, elsewhere: Path, text: str, told: str) -> None:
        (elsewhere / "modelcheck.toml").write_text(text)
        result = run("lint", healthy)
        assert result.code == 2
        assert told in result.stderr

    @pytest.mark.parametrize("text", ['[tool]\nmodelcheck = "x"', "[[tool.modelcheck]]"])
    def test_what_is_no_table_is_told(self, healthy: str, elsewhere: Path, text: str) -> None:
        (elsewhere / "pyproject.toml").write_text(text)
        result = run("lint", healthy)
        assert (result.code, "expected a table: [tool.modelcheck]" in result.stderr) == (2, True)


class TestJson:
    def test_the_contract(self, faulty: str) -> None:
        result = run("lint", faulty, "/nowhere", "--format", "json")
        document = json.loads(result.stdout)
        assert list(document) == ["schema", "modelcheck", "targets"]
        assert document["schema"] == 1
        first, second = document["targets"]
        assert list(first) == ["target", "source", "hub", "error", "findings", "skipped", "internal", "seconds"]
        [finding] = first["findings"]
        assert finding | {"message": ""} == {
            "code": "TOK001",
            "slug": "pad-is-eos",
            "severity": "error",
            "confidence": "high",
            "message": "",
            "file": "tokenizer_config.json",
            "at": "/pad_token",
            "fix": "safe",
        }
        assert first["error"] is None
        assert "no such folder" in second["error"]

    def test_what_could_not_be_checked_is_listed(self, tmp_path: Path) -> None:
        folder = str(write_overlay(tmp_path / "no-tokenizer", {"tokenizer.json": "null"}))
        [target] = json.loads(run("lint", folder, "--format", "json").stdout)["targets"]
        skipped = {item["slug"]: item for item in target["skipped"]}
        assert skipped["double-bos"]["code"] == "TOK005"
        assert "tokenizer.json is not" in skipped["double-bos"]["reason"]


class TestWhatCannotBe:
    @pytest.mark.parametrize("option", ["base", "lora", "data", "chat-template", "grammar", "baseline", "output-file"])
    def test_an_empty_option_is_not_as_none(self, healthy: str, option: str) -> None:
        result = run("lint", healthy, f"--{option}", "")
        assert (result.code, f"--{option} is empty (an unset variable?)" in result.stderr) == (2, True)

    @pytest.mark.parametrize("place", ["nowhere/report.txt", "/dev/full"])
    def test_a_report_that_cannot_be_written(self, healthy: str, place: str) -> None:
        result = run("lint", healthy, "--output-file", place)
        assert (result.code, result.stderr.startswith(f"modelcheck: --output-file {place}: No ")) == (2, True)

    @pytest.mark.parametrize("form", ["text", "json"])
    def test_standard_output_that_takes_nothing(self, healthy: str, form: str) -> None:
        command = [sys.executable, "-m", "modelcheck", "lint", healthy, "--format", form]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, "modelcheck: standard output: No space left on device\n")

    def test_statistics_in_a_form_of_reports(self, healthy: str) -> None:
        result = run("lint", healthy, "--statistics", "--format", "sarif")
        assert (result.code, "it has no --format sarif" in result.stderr) == (2, True)

    def test_an_error_of_ours_is_no_finding(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.argv", ["modelcheck", "rules"])
        monkeypatch.setattr("modelcheck.packs.load", lambda: 1 / 0)
        with pytest.raises(SystemExit, match="3"):
            main()
        assert capsys.readouterr().err.startswith("modelcheck: internal error: ZeroDivisionError: division by zero (")

    def test_a_name_that_no_file_has(self, tmp_path: Path) -> None:
        listed = tmp_path / "targets.txt"
        listed.write_bytes(b"a\0b\n")
        result = run("lint", "--targets-file", str(listed))
        assert (result.code, "no name of a file holds the character NUL" in result.stdout) == (2, True)

    def test_a_cache_of_a_user_who_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELCHECK_CACHE", "~no-such-user/cache")
        assert run("cache").stdout.startswith("~no-such-user/cache: 0 pieces")

    @pytest.mark.parametrize("page", ["https://huggingface.co/org/name", "hf://org/name"])
    def test_the_page_of_a_model_is_no_id(self, page: str) -> None:
        assert "for the model on the hub say org/name" in run("lint", page).stdout


class TestTexts:
    def test_explain_teaches_in_under_a_screen(self) -> None:
        text = run("explain", "double-bos").stdout
        assert text.startswith("TOK005 double-bos (error)")
        assert all(heading in text for heading in ("Why:", "Common causes:", "Bad:", "Good:", "Traps:", "Sources:"))
        assert "```" not in text
        assert len(text.splitlines()) <= 50

    def test_rules_lists_every_rule_once(self) -> None:
        lines = run("rules").stdout.splitlines()
        codes = [line.split()[0] for line in lines]
        assert codes == sorted(set(codes))

    def test_version(self) -> None:
        assert run("--version").stdout.startswith("modelcheck ")

    def test_a_hostile_name_cannot_act_on_the_terminal(self, tmp_path: Path) -> None:
        hostile = {"tokenizer_config.json": json.dumps({"pad_token": "\x1b[2J\ud800", "eos_token": "\x1b[2J\ud800"})}
        result = run("lint", str(write_overlay(tmp_path / "hostile", hostile)))
        assert result.code == 1
        assert "\x1b" not in result.stdout

    def test_demo_finds_mends_and_takes_back_and_keeps_a_named_folder(self, elsewhere: Path) -> None:
        result = run("demo", "here")
        assert result.code == 0
        found, shown, written, clean, undone = result.stdout.split("\n$ ")[1:]
        codes = {line.split()[1] for line in found.splitlines() if line.startswith(("  error", "  warning", "  info"))}
        assert len(codes) >= 10
        assert "12 findings mended in 4 files; 0 errors or warnings stay" in shown
        assert '-  "pad_token": "<|im_end|>"' in shown
        assert "takes it back" in written
        assert "no findings" in clean
        assert "every byte is as it was" in undone
        assert (elsewhere / "here" / "model.safetensors").is_file()
        assert "is not empty" in run("demo", "here").stderr
