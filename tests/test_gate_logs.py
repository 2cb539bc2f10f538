"""Logs of other programs, read: real ones, which tools/evaluation_logs.py made, then damaged, old and hostile ones.

In tests/logs/ two made-up models answer the same 24 items under lm-eval 0.4.13, inspect_ai 0.3.285, lighteval 0.13.0.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelcheck.errors import UsageError
from modelcheck.finetune.logs import Log, read
from modelcheck.finetune.logs.archive import LARGEST, Archive

LOGS = Path(__file__).parent / "logs"
WRONG = {"base": {1, 5, 9, 20}, "tuned": {5, 22}}
SUMS = "samples_sums_2026-11-22T12-00-00.000000.jsonl"
CHOICE = "samples_sums_choice_2026-11-22T12-00-00.000000.jsonl"
CASES = {
    "lm-eval, generated, first filter": (f"lm_eval/{{}}/{SUMS}", "sums", "exact_match,strict", 24),
    "lm-eval, generated, second filter": (f"lm_eval/{{}}/{SUMS}", "sums", "exact_match,digits", 24),
    "lm-eval, choices": (f"lm_eval/{{}}/{CHOICE}", "sums_choice", "acc,none", 24),
    "inspect, .eval": ("inspect/{}/sums.eval", "sums", "match", 24),
    "inspect, .json": ("inspect/{}/sums.json", "sums", "match", 6),
    "lighteval": ("lighteval/{}/details_sums.parquet", "sums|0", "em", 24),
}


def log(path: Path) -> Log:
    """The only log of a file."""
    [found] = read(path).values()
    return found


def refusal(path: Path) -> str:
    """What the reader says of a file, which is its name alone where it reads it."""
    try:
        read(path)
    except UsageError as error:
        return str(error)
    return str(path)


@pytest.mark.parametrize("side", WRONG)
@pytest.mark.parametrize(("path", "suite", "metric", "items"), CASES.values(), ids=CASES)
def test_every_format_tells_of_the_same_answers(path: str, suite: str, metric: str, items: int, side: str) -> None:
    found = log(LOGS / path.format(side))
    assert found.suite == suite
    scores = {
        int(r.sample.item.split()[0]): (r.sample.answer, r.sample.reference, r.scores[metric])
        for r in found.records
        if metric in r.scores
    }
    for n, (answer, reference, score) in scores.items():
        assert reference == str(2 * n + 3)
        assert score == (n not in WRONG[side])
        assert answer == reference if score else answer in ("I do not know", "[invalid]")
    assert sorted(scores) == list(range(items))


def test_the_same_item_has_the_same_name_on_both_sides() -> None:
    for path, *_ in CASES.values():
        base, tuned = (log(LOGS / path.format(side)).records for side in WRONG)
        assert {r.sample.item: r.asked for r in base} == {r.sample.item: r.asked for r in tuned}


def test_an_item_shows_its_own_question_without_the_examples_before_it() -> None:
    record = log(LOGS / f"lm_eval/base/{SUMS}").records[0]
    assert record.sample.prompt == "Q: What is 0 + 3?\nA:"
    assert "Sums." in record.asked


def test_inspect_epochs_are_repeats_and_a_score_of_parts_is_several_metrics() -> None:
    found = log(LOGS / "inspect/base/sums.eval").records
    assert {(r.sample.item.split()[0], r.sample.repeat) for r in found} == {
        (str(n), e) for n in range(24) for e in (0, 1)
    }
    assert set(found[0].scores) == {"match", "style/short", "style/polite"}
    assert found[0].scores["style/polite"] == 0.5
    assert found[0].sample.tokens > 0


def test_what_inspect_asked_includes_its_system_message_and_ends_before_the_answer() -> None:
    record = log(LOGS / "inspect/base/sums.json").records[0]
    assert json.loads(record.asked) == [["system", "Answer with a number."], ["user", "What is 0 + 3?"]]


def test_settings_of_decoding_are_read() -> None:
    generation = {"until": ["Q:"], "max_gen_toks": 16}
    assert log(LOGS / f"lm_eval/base/{SUMS}").settings == {"generation": generation}
    assert log(LOGS / "inspect/base/sums.eval").settings["generation"] == {"max_tokens": 16}
    assert log(LOGS / "lighteval/base/details_sums.parquet").settings["generation_size"] == 16


def test_a_folder_holds_several_tasks_and_its_tables_of_results_are_no_logs(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "lm_eval/base", tmp_path / "model")
    (tmp_path / "model" / "results_2026-11-22T12-00-00.000000.json").write_text('{"results": {"sums": {}}}')
    assert sorted(read(tmp_path)) == ["sums", "sums_choice"]


def test_two_runs_of_one_task_in_a_folder_are_refused(tmp_path: Path) -> None:
    for hour in ("12", "13"):
        shutil.copy(LOGS / f"lm_eval/base/{SUMS}", tmp_path / SUMS.replace("T12", f"T{hour}"))
    with pytest.raises(UsageError, match=r"holds two logs of sums, .*T12.* and .*T13.*: name one of the files"):
        read(tmp_path)


def test_an_archive_that_is_deflated_reads_alike(tmp_path: Path) -> None:
    source = Archive(LOGS / "inspect/base/sums.eval")
    with zipfile.ZipFile(tmp_path / "sums.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.names:
            archive.writestr(name, source.read(name))
    assert log(tmp_path / "sums.eval").records == log(LOGS / "inspect/base/sums.eval").records


OLD = {
    "example": "What is 1 + 4?",
    "full_prompt": "Sums.\n\nWhat is 1 + 4?",
    "predictions": ["5"],
    "gold": ["5"],
    "metrics": {"em": 1.0, "f1": 0.5},
    "specifics": {"page": "page 0"},
}


@pytest.mark.parametrize("write", [lambda v: v, str], ids=["columns", "texts"])
def test_lighteval_before_0_10(write: Callable[[Any], Any], tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "details_sums_2024-11-22T12-00-00.000000.parquet"
    pq.write_table(pa.Table.from_pylist([{name: write(value) for name, value in OLD.items()}]), path)
    [record] = log(path).records
    assert (record.sample.prompt, record.sample.answer, record.sample.reference) == ("What is 1 + 4?", "5", "5")
    assert record.scores == {"em": 1.0, "f1": 0.5}
    assert record.columns == {"page": "page 0"}


def test_lighteval_as_json_lines(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    rows = pq.read_table(LOGS / "lighteval/base/details_sums.parquet").to_pylist()
    (tmp_path / "details.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert log(tmp_path / "details.jsonl").records == log(LOGS / "lighteval/base/details_sums.parquet").records


def inspect_with(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A JSON log of inspect with a change."""
    document = json.loads((LOGS / "inspect/base/sums.json").read_text())
    change(document)
    (tmp_path / "sums.json").write_text(json.dumps(document))
    return tmp_path / "sums.json"


def test_an_evaluation_that_did_not_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"its status is 'cancelled', not success: run `inspect eval-retry"):
        read(inspect_with(tmp_path, lambda d: d.update(status="cancelled")))


def test_samples_that_ended_in_an_error_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 samples ended in an error and have no score \(2\)"):
        read(inspect_with(tmp_path, lambda d: d["samples"][2].update(error={"message": "timeout"})))


def test_words_of_inspect_are_numbers(tmp_path: Path) -> None:
    words = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "Yes": 1.0, "false": 0.0, "0.25": 0.25, "well": "well"}
    scores = {word: {"value": word} for word in words}
    path = inspect_with(tmp_path, lambda d: d["samples"][0].update(scores=scores))
    assert log(path).records[0].scores == words


def test_attachments_are_put_in_their_places(tmp_path: Path) -> None:
    change = {"input": "attachment://a1", "attachments": {"a1": "a long question"}}
    path = inspect_with(tmp_path, lambda d: d["samples"][0].update(change))
    assert log(path).records[0].sample.prompt == "a long question"


class TestDamage:
    def test_what_is_no_log_is_told_what_is_known(self, tmp_path: Path) -> None:
        (tmp_path / "notes.jsonl").write_text('{"question": "?"}\n')
        with pytest.raises(UsageError, match=r"notes.jsonl: is no log of an evaluation; known are samples.jsonl of"):
            read(tmp_path / "notes.jsonl")

    def test_a_line_that_is_torn_is_named(self, tmp_path: Path) -> None:
        text = (LOGS / f"lm_eval/base/{SUMS}").read_text()
        (tmp_path / SUMS).write_text(text[:-80])
        with pytest.raises(UsageError, match=r"jsonl:48: is no JSON"):
            read(tmp_path / SUMS)

    def test_an_archive_without_its_header_is_not_complete(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
            archive.writestr("_journal/start.json", "{}")
        with pytest.raises(UsageError, match=r"has no header\.json: the evaluation is not complete"):
            read(tmp_path / "a.eval")

    def test_an_entry_that_claims_to_be_huge_is_not_unpacked(self, tmp_path: Path) -> None:
        raw = bytearray((LOGS / "inspect/base/sums.eval").read_bytes())
        at = raw.rindex(b"header.json") - 46  # the entry in the central directory
        raw[at + 24 : at + 28] = struct.pack("<I", LARGEST + 1)
        (tmp_path / "a.eval").write_bytes(raw)
        with pytest.raises(UsageError, match=f"header.json is {LARGEST + 1} bytes large, at most {LARGEST} are read"):
            read(tmp_path / "a.eval")

    @pytest.mark.parametrize(
        "path", [f"lm_eval/base/{SUMS}", *(p.format("base") for p, *_ in list(CASES.values())[3:])]
    )
    def test_any_damage_is_a_usage_error_or_harmless(self, path: str, tmp_path: Path) -> None:
        whole, rng = (LOGS / path).read_bytes(), random.Random(0)
        file = tmp_path / Path(path).name
        for _ in range(15):
            raw, at = bytearray(whole), rng.randrange(len(whole))
            raw[at : at + rng.randrange(8)] = rng.randbytes(rng.randrange(4)) if rng.random() < 0.7 else b"null"
            file.write_bytes(raw if rng.random() < 0.8 else raw[:at])
            assert refusal(file).startswith(str(file))

    @pytest.mark.parametrize("wrong", [None, [], "x", 3, {"a": []}], ids=repr)
    @pytest.mark.parametrize("name", ["input", "output", "scores", "messages", "metadata", "attachments", "epoch"])
    def test_values_of_another_type_in_a_log_of_inspect(self, name: str, wrong: Any, tmp_path: Path) -> None:
        path = inspect_with(tmp_path, lambda d: d["samples"][0].update({name: wrong}))
        assert refusal(path).startswith(str(path))
