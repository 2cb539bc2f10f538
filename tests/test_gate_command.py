"""`modelcheck gate`: result files in, the gate's report and an exit code out. Nothing that differs is passed over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_samples import right, run

from modelcheck import cli
from modelcheck.finetune import gate_json, samples
from modelcheck.finetune.gate import Guard, compare
from modelcheck.finetune.samples import Sample

LOGS = Path(__file__).parent / "logs"
SUMS = "samples_sums_2026-11-22T12-00-00.000000.jsonl"
BASE, TUNED = (LOGS / "lighteval" / side / "details_sums.parquet" for side in ("base", "tuned"))

Gate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gate:
    """Run the command: exit code, stdout, stderr."""
    monkeypatch.delenv("CI", raising=False)

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelcheck", "gate", *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return int(exit_.value.code or 0), *capsys.readouterr()

    return call


def written(path: Path, found: list[Sample]) -> Path:
    """Samples in a file of ours."""
    samples.append(path, found)
    return path


def edited(path: Path, change: Callable[[dict[str, Any]], object], side: str = "tuned") -> Path:
    """The generated task of lm-eval with every line changed."""
    lines = [json.loads(line) for line in (LOGS / "lm_eval" / side / SUMS).read_text().splitlines()]
    kept = [line for line in lines if change(line) is not False]
    path.mkdir()
    (path / SUMS).write_text("".join(json.dumps(line) + "\n" for line in kept))
    return path / SUMS


class TestVerdicts:
    def test_a_model_that_lost_nothing_passes(self, gate: Gate, tmp_path: Path) -> None:
        path = written(tmp_path / "a.jsonl", run(right(200, 200)))
        code, out, _ = gate(path, path, "--margin", 0.02)
        assert code == 0
        assert "PASS" in out

    def test_a_model_that_got_worse_fails(self, gate: Gate, tmp_path: Path) -> None:
        paths = [written(tmp_path / f"{n}.jsonl", run(right(n))) for n in (90, 40)]
        code, out, _ = gate(*paths, "--margin", 0.05)
        assert code == 1
        assert "FAIL: samples score: fell from 0.900 to 0.400 on 100 items" in " ".join(out.split())

    @pytest.mark.parametrize(("policy", "ci", "expected"), [((), "", 0), (("--on-inconclusive", "fail"), "", 1)])
    def test_what_becomes_of_the_undecided_is_said(
        self, gate: Gate, policy: tuple[str, ...], ci: str, expected: int
    ) -> None:
        code, out, _ = gate(BASE, TUNED, *policy)
        assert "INCONCLUSIVE" in out
        assert code == expected

    def test_in_ci_a_guard_that_is_seen_below_its_margin_fails(
        self, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [written(tmp_path / f"{n}.jsonl", run(right(n))) for n in (90, 85)]
        assert gate(*paths)[0] == 0
        monkeypatch.setenv("CI", "true")
        assert gate(*paths)[0] == 1

    def test_without_a_demand_a_guard_is_taken_and_said(self, gate: Gate) -> None:
        _, out, err = gate(BASE, TUNED)
        assert err.startswith("no demand is named: a guard, --margin 0.02, is taken")
        assert "guard sums|0" in out
        assert gate(BASE, TUNED, "--min-gain", 0.01)[2] == ""

    def test_where_nothing_is_compared_no_demand_is_taken(self, gate: Gate, tmp_path: Path) -> None:
        _, out, err = gate(BASE, tmp_path / "nowhere.jsonl")
        assert (out, "no demand" in err) == ("", False)
        assert "nowhere.jsonl: no such file" in err

    @pytest.mark.parametrize(
        ("demand", "role"), [("--min-gain", "target"), ("--floor", "floor"), ("--ceiling", "ceiling")]
    )
    def test_each_demand_is_a_role(self, gate: Gate, demand: str, role: str) -> None:
        document = json.loads(gate(BASE, TUNED, demand, 0.3, "--format", "json")[1])
        assert [result["role"] for result in document["results"]] == [role]

    def test_json_is_what_the_library_says(self, gate: Gate, tmp_path: Path) -> None:
        base, tuned = run(right(90)), run(right(40))
        paths = [written(tmp_path / f"{n}.jsonl", s) for n, s in enumerate((base, tuned))]
        [result] = json.loads(gate(*paths, "--margin", 0.05, "--format", "json")[1])["results"]
        expected = compare(base, tuned, role=Guard(0.05), suite="samples", metric="score")
        assert {name: result[name] for name in ("value", "lower", "upper", "verdict")} == {
            "value": expected.value,
            "lower": expected.lower,
            "upper": expected.upper,
            "verdict": expected.verdict,
        }
        assert gate_json.SCHEMA == 1

    def test_markdown_is_for_a_pull_request(self, gate: Gate) -> None:
        assert gate(BASE, TUNED, "--format", "markdown")[1].startswith("### modelcheck: ")

    def test_several_tuned_are_training_seeds(self, gate: Gate, tmp_path: Path) -> None:
        paths = [written(tmp_path / f"{n}.jsonl", run(right(n))) for n in (90, 60, 80)]
        [result] = json.loads(gate(*paths, "--format", "json")[1])["results"]
        assert result["pairs"]["runs"] == [pytest.approx(-0.3), pytest.approx(-0.1)]

    def test_the_same_answers_get_the_same_verdict_from_every_program(self, gate: Gate) -> None:
        paths = {"lm_eval": SUMS, "lighteval": "details_sums.parquet", "inspect": "sums.eval"}
        metric = {"lm_eval": "exact_match,strict", "lighteval": "em", "inspect": "match"}
        rows = set()
        for program, name in paths.items():
            sides = [LOGS / program / side / name for side in ("base", "tuned")]
            [found] = json.loads(gate(*sides, "--metric", metric[program], "--format", "json")[1])["results"]
            rows.add(tuple(found[n] for n in ("items", "base", "tuned", "value", "lower", "upper", "verdict")))
        assert len(rows) == 1


class TestChoices:
    def test_a_metric_must_be_named_where_there_are_several(self, gate: Gate) -> None:
        code, _, err = gate(*(LOGS / "lm_eval" / side / SUMS for side in ("base", "tuned")))
        assert code == 2
        assert "name those to judge with --metric, of exact_match,strict, exact_match,digits" in err

    def test_one_that_is_not_there_is_refused_with_what_is(self, gate: Gate) -> None:
        code, _, err = gate(BASE, TUNED, "--metric", "emm")
        assert code == 2
        assert "has no such metric; did you mean 'em'?; it has em" in err

    def test_a_task_that_lacks_the_named_metric_says_which_it_has(self, gate: Gate) -> None:
        code, _, err = gate(*(LOGS / "lm_eval" / side for side in ("base", "tuned")), "--metric", "exact_match")
        assert code == 2
        assert "sums_choice has no metric exact_match, but acc,none: give --metric for it as well" in err

    def test_a_name_without_its_filter_means_every_filter(self, gate: Gate) -> None:
        sides = [LOGS / "lm_eval" / side for side in ("base", "tuned")]
        out = gate(*sides, "--metric", "exact_match", "--metric", "acc", "--format", "json")[1]
        rows = [(row["suite"], row["metric"]) for row in json.loads(out)["results"]]
        assert rows == [("sums", "exact_match,strict"), ("sums", "exact_match,digits"), ("sums_choice", "acc,none")]

    def test_two_demands_are_one_too_many(self, gate: Gate) -> None:
        code, _, err = gate(BASE, TUNED, "--margin", 0.1, "--floor", 0.9)
        assert code == 2
        assert "--margin and --floor are two demands: name one" in err

    def test_a_column_makes_clusters(self, gate: Gate) -> None:
        [result] = json.loads(gate(BASE, TUNED, "--cluster", "page", "--format", "json")[1])["results"]
        assert (result["items"], result["clusters"]) == (24, 8)

    def test_a_column_that_is_not_there(self, gate: Gate) -> None:
        code, _, err = gate(BASE, TUNED, "--cluster", "pages")
        assert code == 2
        assert "has no such column; did you mean 'page'?" in err

    def test_a_lost_item_that_is_critical_fails(self, gate: Gate, tmp_path: Path) -> None:
        def mark(line: dict[str, Any]) -> None:
            line["doc"]["vital"] = line["doc_id"] == 22

        base, tuned = (edited(tmp_path / side, mark, side) for side in ("base", "tuned"))
        options = ("--metric", "exact_match,strict", "--min-gain", 0)
        assert gate(base, tuned, *options)[0] == 0
        code, out, _ = gate(base, tuned, *options, "--critical", "vital")
        assert code == 1
        assert "1 critical item lost" in " ".join(out.split())

    def test_a_score_beyond_one_is_no_share(self, gate: Gate, tmp_path: Path) -> None:
        base, tuned = (edited(tmp_path / s, lambda line: line.update(bleu=37.5), s) for s in ("base", "tuned"))
        code, _, err = gate(base, tuned, "--metric", "bleu,strict")
        assert code == 2
        assert "bleu,strict is 37.5, expected a number from 0 to 1; judge another with --metric" in err


class TestNotComparable:
    """lm-eval's logs of one task, one side changed."""

    def refused(self, gate: Gate, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> str:
        tuned = edited(tmp_path / "tuned", change)
        code, out, err = gate(LOGS / "lm_eval/base" / SUMS, tuned, "--metric", "exact_match,strict", "--margin", 0.1)
        assert (code, out) == (2, "")
        return err

    def test_an_item_less(self, gate: Gate, tmp_path: Path) -> None:
        err = self.refused(gate, tmp_path, lambda line: line["doc_id"] != 7)
        assert "1 items only in base (7 " in err

    def test_another_question(self, gate: Gate, tmp_path: Path) -> None:
        err = self.refused(gate, tmp_path, lambda line: line["doc"].update(question="?") if line["doc_id"] == 7 else 0)
        assert "1 items only in base (7 " in err
        assert "1 items only in tuned (7 " in err

    def test_another_prompt(self, gate: Gate, tmp_path: Path) -> None:
        def chat(line: dict[str, Any]) -> None:
            request = line["arguments"]["gen_args_0"]
            request["arg_0"] = f"<|im_start|>user\n{request['arg_0']}"

        err = self.refused(gate, tmp_path, chat)
        assert "the prompts of 24 of 24 items differ (0 " in err
        assert "'Sums.\\nQ: What is" in err.replace("\\\\", "\\")
        assert "<|im_start|>" in err

    def test_other_settings_of_decoding(self, gate: Gate, tmp_path: Path) -> None:
        def longer(line: dict[str, Any]) -> None:
            line["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] = 512

        assert "generation.max_gen_toks: 16 in base, 512 in tuned" in self.refused(gate, tmp_path, longer)

    def test_other_tasks(self, gate: Gate) -> None:
        code, _, err = gate(LOGS / "lm_eval/base" / SUMS, LOGS / "lm_eval/tuned")
        assert code == 2
        assert "holds sums, " in err
        assert "holds sums, sums_choice; evaluate both sides on the same tasks" in err

    def test_an_item_without_the_metric(self, gate: Gate, tmp_path: Path) -> None:
        err = self.refused(gate, tmp_path, lambda line: line.pop("exact_match") if line["doc_id"] == 3 else 0)
        assert "1 items have no exact_match,strict (3 " in err

    def test_two_runs_in_one_file(self, gate: Gate, tmp_path: Path) -> None:
        tuned = edited(tmp_path / "tuned", lambda line: None)
        tuned.write_text(tuned.read_text() * 2)
        code, _, err = gate(LOGS / "lm_eval/base" / SUMS, tuned, "--metric", "exact_match,strict")
        assert code == 2
        assert "is there twice: two runs in one log" in err

    def test_manifests_of_ours_are_compared_where_both_sides_have_one(self, gate: Gate, tmp_path: Path) -> None:
        paths = [written(tmp_path / side / "samples.jsonl", run(right(90))) for side in ("base", "tuned")]
        for path, limit in zip(paths, (16, 512), strict=True):
            manifest = {"weights": f"hash {limit}", "gen": {"max_tokens": limit}}
            (path.parent / "manifest.json").write_text(json.dumps(manifest))
        code, _, err = gate(*paths)
        assert code == 2
        assert "gen.max_tokens: 16 in base, 512 in tuned" in err
        assert "weights" not in err
        (paths[0].parent / "manifest.json").unlink()
        assert gate(*paths)[0] == 0

    def test_prompts_of_ours_are_compared_token_by_token(self, gate: Gate, tmp_path: Path) -> None:
        base = run(right(90), prompt_ids=(1, 2, 3))
        tuned = [replace(s, prompt_ids=(1, 1, 2, 3)) for s in base]
        code, _, err = gate(written(tmp_path / "a.jsonl", base), written(tmp_path / "b.jsonl", tuned))
        assert code == 2
        assert "differs from token 1 on (2 in base, 1 in tuned)" in err


def test_half_a_surrogate_pair_in_an_answer_is_written_out(gate: Gate, tmp_path: Path) -> None:
    log = tmp_path / "samples.jsonl"
    log.write_text("".join(f'{{"item": "\\ud800{n}", "answer": "\\ud800", "score": {n % 2}}}\n' for n in range(40)))
    for form in ("text", "markdown", "json"):
        code, out, err = gate(log, log, "--margin", "0.5", "--format", form)
        assert (code, "Traceback" in err) == (0, False), err
        assert out
