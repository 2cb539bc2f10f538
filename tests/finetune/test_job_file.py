"""Job files: what they say arrives as data; what is wrong with them is told with file, line and accepted values."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import SMALL, errors, read

from modelcheck import settings
from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.job import Arm, Generation, OpenAi, Scorer, Serve
from modelcheck.finetune.job_file import JobFileError, is_job_file, read_jobs
from modelcheck.finetune.job_rows import Data, Mirror
from modelcheck.finetune.toml_lines import lines

DOCS = Path(__file__).parents[2] / "docs"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_what_a_small_job_says(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    [job] = read(tmp_path, SMALL).values()
    assert (job.name, job.line, job.base, job.timeout) == ("tiny", 1, str(tmp_path / "base"), 5400)
    assert job.data.train.path == tmp_path / "data" / "train.jsonl"
    assert job.data.train.columns == {"prompt": "{title}: {question}", "answer": "answer"}
    assert (job.data.eval and job.data.eval.cluster) == "source"
    assert job.suites[0].scorer == Scorer("exact", {"normalize": ("strip",)})
    assert (job.suites[0].data, job.suites[0].item) == ("eval", "guard-copy")


def test_every_key_of_the_schema_arrives(tmp_path: Path) -> None:
    job = read(tmp_path, (Path(__file__).parent / "full.modelcheck.toml").read_text())["rugby"]
    assert (job.base, job.revision) == ("microsoft/phi-4-mini", COMMIT)
    assert (job.data.train.hf, job.data.train.revision) == ("org/ds", "v1")
    assert job.data.mirror == Mirror(50, 1)
    assert job.data.replay
    assert job.data.replay.ratio == 0.3
    assert job.data.template == tmp_path / "chat.jinja"
    assert (job.train.lora.alpha, job.train.lora.targets) == (64, ("q_proj", "v_proj"))
    assert (job.train.eval_every, job.train.seeds) == (0.25, (0, 1, 2))
    assert job.train.python == str(tmp_path / "venv/bin/python")
    assert job.eval.python == "python3.12"
    assert job.eval.gen == Generation(temperature=0.7, top_p=0.95, top_k=40, max_tokens=64, stop=("\n\n",), seed=3)
    assert (job.eval.runs, job.eval.strip_thinking and job.eval.strip_thinking.unclosed) == (5, "keep")
    assert [(s.role, s.scorer.type) for s in job.suites] == [
        ("target", "numeric"), ("guard", "regex"), ("guard", "choice"), ("guard", "contains"), ("guard", "python"),
        ("guard", "judge"), ("floor", "json_schema"),
    ]  # fmt: skip
    judge = job.suites[-2].scorer.options
    assert (judge["base_url"], judge["prompt"]) == ("https://api.example.com/v1", str(tmp_path / "judge.md"))
    assert job.suites[-1].scorer.options == {"schema": str(tmp_path / "out.json")}
    assert job.arms == (
        Arm("brief", "Answer with one word.", 4, 1),
        Arm("larger", tmp_path / "prompt.txt", context="{title}: {passage}", model="microsoft/phi-4", revision=COMMIT),
        Arm("hosted", context="passage", openai=OpenAi(Endpoint("https://api.example.com/v1", "large", "LARGE_KEY"))),
        Arm("served", openai=OpenAi(Endpoint("", "phi"), Serve(("serve", "org/phi", "{port}"), {"A": "1"}, 300.0))),
    )
    assert (job.gate.length_ratio, job.gate.must_beat_arms) == ((0.5, 2.0), "fail")
    assert job.warnings == ()


def test_a_job_is_plain_data_for_other_processes(tmp_path: Path) -> None:
    import json

    [job] = read(tmp_path, SMALL).values()
    assert json.loads(json.dumps(job.plain()))["data"]["train"]["path"] == str(tmp_path / "data/train.jsonl")


def test_repeating_a_greedy_answer_is_left_out(tmp_path: Path) -> None:
    [job] = read(tmp_path, SMALL + "[job.tiny.eval]\nrepeats = 5\n").values()
    assert (job.eval.repeats, job.eval.runs) == (5, 1)


WRONG = {
    "an unknown key": (
        ('dtype = "float32"', 'dtypes = "float32"'),
        "3: job.tiny.dtypes: unknown key; did you mean 'dtype'?; known are base, revision, dtype, isolation, timeout",
    ),
    "a wrong word": (('"float32"', '"float23"'), '3: job.tiny.dtype: is "float23", expected one of "bfloat16",'),
    "a wrong type": (("margin = 0.05", 'margin = "0.05"'), '14: job.tiny.suite[1].margin: is "0.05", expected'),
    "a number out of range": (("0.05", "5"), "14: job.tiny.suite[1].margin: is 5, expected a number above 0 and below"),
    "true is no number": (("0.05", "true"), "14: job.tiny.suite[1].margin: is true, expected a number"),
    "a time without unit": (('"90m"', '"90"'), '4: job.tiny.timeout: is "90", expected a time such as "45s"'),
    "a time that is no number": (('"90m"', '"1.2.3h"'), '4: job.tiny.timeout: is "1.2.3h", expected a time such as'),
    "a time without digits": (('"90m"', '".h"'), '4: job.tiny.timeout: is ".h", expected a time such as "45s"'),
    "a share that is no number": (
        ("[[", '[job.tiny.train]\neval_every = "1.2.3%"\n[['),
        '12: job.tiny.train.eval_every: is "1.2.3%", expected a share such as "10%" or a number of steps',
    ),
    "a scorer of the next issue": (
        ('"exact"', '"command"'),
        '15: job.tiny.suite[1].scorer.type: "command" is not available yet; available: "exact", "contains", "regex"',
    ),
    "a key in the file": (
        ('"exact", normalize = ["strip"]', '"judge", api_key = "sk-1"'),
        "15: job.tiny.suite[1].scorer.api_key: a key in a job file is not taken: put the key into an environment",
    ),
    "a judge's option": (
        ('"exact", normalize = ["strip"]', '"judge", votes = 0'),
        "15: job.tiny.suite[1].scorer.votes: is 0, expected a whole number from 1 up",
    ),
    "a misspelt scorer": (('"exact"', '"exakt"'), "did you mean 'exact'?"),
    "a scorer's option": (
        ("normalize", "normalise"),
        "15: job.tiny.suite[1].scorer.normalise: unknown key; did you mean 'normalize'?",
    ),
    "a scorer's option inside a list": (('"strip"', '"stripp"'), "15: job.tiny.suite[1].scorer.normalize[1]: is "),
    "a missing bound": (("margin = 0.05\n", ""), "11: job.tiny.suite[1]: a guard needs margin"),
    "two bounds of one floor": (
        ('"guard"\nmargin = 0.05', '"floor"\nmin = 0.3\nmax = 0.4'),
        "15: job.tiny.suite[1].max: stands beside min, expected one of them: make two suites, one with each",
    ),
    "another role's bound": (("margin = 0.05", "margin = 0.05\nmin_gain = 0.1"), "15: job.tiny.suite[1].min_gain: "),
    "a name that pytest cannot select": (('"copy"', '"copy[1]"'), '12: job.tiny.suite[1].name: is "copy[1]", expected'),
    "no data": (("[job.tiny.data]", "[job.other.data]"), "1: job.tiny: lacks data"),
    "no place": (('{ path = "data/train.jsonl" }', "{ }"), "7: job.tiny.data.train: expected either path"),
    "two places": (('{ path = "data/t', '{ hf = "a/b", path = "data/t'), "7: job.tiny.data.train: expected either"),
    "a path where rows belong": (('{ path = "data/train.jsonl" }', '"x"'), '7: job.tiny.data.train: is "x", expected'),
    "a template with a format": (("{title}", "{title:>3}"), "9: job.tiny.data.columns.prompt: template '{title:>3}"),
    "an unknown part": (("answer = ", "anwser = "), "9: job.tiny.data.columns.anwser: unknown key; did you mean"),
    "no eval": (("eval = {", "replay = {"), '11: job.tiny.suite[1]: its data is "eval", but data.eval is not there'),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_told_with_its_line(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    assert change[0] in SMALL
    said = errors(tmp_path, SMALL.replace(*change))
    assert [error for error in said if expected in error], said


def test_the_settings_of_another_engine_are_refused(tmp_path: Path) -> None:
    table = '[job.tiny.eval]\nbackend = "vllm"\nbatch_size = 8\nvllm = { max_model_len = 64, enforce_eager = true }'
    [error] = errors(tmp_path, f"{SMALL}\n{table}\n")
    assert 'job.tiny.eval.batch_size: belongs to backend = "transformers", and this one is "vllm"' in error


@pytest.mark.parametrize("table", ["{ data_parallel_size = 2 }", "{ args = { data_parallel_size = 2 } }"])
def test_replicas_are_sent_to_the_server_that_has_them(tmp_path: Path, table: str) -> None:
    [error] = errors(tmp_path, f'{SMALL}\n[job.tiny.eval]\nbackend = "vllm"\nvllm = {table}\n')
    place, _, serve = error.partition(' say backend = "openai" and ')
    assert place.startswith("19: job.tiny.eval.vllm.")
    assert "vLLM runs several replicas only as a server" in place
    # What it gives is what a job can say.
    [job] = read(tmp_path, f'{SMALL}\n[job.tiny.eval]\nbackend = "openai"\n{serve}\n').values()
    assert job.eval.openai
    assert job.eval.openai.serve
    assert job.eval.openai.serve.words[-2:] == ("--data-parallel-size", "2")
    assert serve in (DOCS / "engines.md").read_text()


def test_devices_that_share_a_model_reach_the_engine(tmp_path: Path) -> None:
    table = '[job.tiny.eval]\nbackend = "vllm"\nvllm = { tensor_parallel_size = 2, args = { quantization = "fp8" } }'
    engine = read(tmp_path, f"{SMALL}\n{table}\n")["tiny"].eval.engine
    assert (engine["backend"], engine["tensor_parallel_size"], engine["args"]) == ("vllm", 2, {"quantization": "fp8"})


LATER = {
    "trainers": ('[job.tiny.train]\nbackend = "unsloth"', 'train.backend: "unsloth" is not available yet; availa'),
    "methods": ('[job.tiny.train]\nmethod = "qlora"', 'train.method: "qlora" is not available yet; available: "lora"'),
    "a trainer's key": ('[job.tiny.train]\nrun = ["x"]', "train.run: the command trainer is not available yet"),
}  # fmt: skip


@pytest.mark.parametrize(("table", "expected"), LATER.values(), ids=LATER)
def test_what_is_to_come_is_refused_by_name(tmp_path: Path, table: str, expected: str) -> None:
    [error] = errors(tmp_path, f"{SMALL}\n{table}\n")
    assert expected in error


ARM = SMALL.replace('"guard"\nmargin', '"target"\nmin_gain') + '\n[[job.tiny.arm]]\nname = "few"\nshots = 3\n'
URL, SERVE = 'base_url = "https://a/v1"', 'model = "x", serve = ["serve", "{model}", "{port}"]'
WRONG_ARMS = {
    "asks as the base": (("shots = 3\n", ""), "17: job.tiny.arm[1]: asks as the base is asked: give it system, "),
    "no name": (('name = "few"\n', ""), "17: job.tiny.arm[1]: lacks name"),
    "no shots": (("shots = 3", "shots = 0"), "19: job.tiny.arm[1].shots: is 0, expected a whole number from 1 up"),
    "a seed of nothing": (("shots = 3", 'system = "x"\nseed = 1'), "20: job.tiny.arm[1].seed: belongs to shots"),
    "a revision of nothing": (("shots = 3", 'shots = 3\nrevision = "a"'), "20: job.tiny.arm[1].revision: belongs to m"),
    "a system prompt that is none": (("shots = 3", "system = 3"), "19: job.tiny.arm[1].system: is 3, expected a text"),
    "a file's other key": (("shots = 3", 'system = { file = "x" }'), "19: job.tiny.arm[1].system.file: unknown key"),
    "a context with a format": (("shots = 3", 'context = "{a:>3}"'), "19: job.tiny.arm[1].context: template '{a:>3}'"),
    "a server of nowhere": (("shots = 3", "openai = {}"), "19: job.tiny.arm[1].openai: expected either serve"),
    "a server of whatever": (("shots = 3", f"openai = {{ {URL} }}"), "arm[1].openai.model: {model} stands for a f"),
    "a server of ours": (("shots = 3", f"openai = {{ {SERVE} }}"), "19: job.tiny.arm[1].openai.serve: {model} stands"),
    "a server without a port": (("shots = 3", 'openai = { model = "x", serve = ["y"] }'), "no word holds {port}"),
    "a key": (("shots = 3", 'openai = { api_key = "x" }'), "19: job.tiny.arm[1].openai.api_key: a key in a job file"),
    "two models": (
        ("shots = 3", f'model = "org/a"\nopenai = {{ {URL}, model = "x" }}'),
        "17: job.tiny.arm[1]: model and openai each name the model that answers",
    ),
    "two of one name": (("shots = 3", 'shots = 3\n[[job.tiny.arm]]\nname = "few"\nshots = 4'), "2 arms are called"),
    "one table": (("[[job.tiny.arm]]", "[job.tiny.arm]"), "17: job.tiny.arm: expected tables [[job.tiny.arm]]"),
    "nothing to reach": (('"target"\nmin_gain', '"guard"\nmargin'), "17: job.tiny.arm[1]: arms answer the suites"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), WRONG_ARMS.values(), ids=WRONG_ARMS)
def test_a_wrong_arm_is_told_with_its_line(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    assert change[0] in ARM
    said = errors(tmp_path, ARM.replace(*change))
    assert [error for error in said if expected in error], said


def test_another_model_without_a_commit_is_a_warning(tmp_path: Path) -> None:
    [job] = read(tmp_path, ARM.replace("shots = 3", 'model = "org/larger"')).values()
    assert any('arm few: model "org/larger" has no commit as revision' in warning for warning in job.moving)


def test_all_errors_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = SMALL.replace('"float32"', '"float31"').replace("0.05", "2").replace("path", "paht")
    told = [int(error.split(":")[0]) for error in errors(tmp_path, text)]
    assert told == sorted(told)
    assert {*told} >= {3, 7, 8, 14}


def test_a_job_without_suites_is_refused(tmp_path: Path) -> None:
    [error] = errors(tmp_path, SMALL[: SMALL.index("[[")])
    assert error == ("1: job.tiny: has no suite: add at least one [[job.tiny.suite]] that judges the tuned model")


def test_two_suites_of_one_name(tmp_path: Path) -> None:
    [error] = errors(tmp_path, SMALL + SMALL[SMALL.index("[[") :])
    assert '2 suites are called "copy"' in error


def test_no_toml(tmp_path: Path) -> None:
    [error] = errors(tmp_path, "[job.tiny]\nbase = \n")
    assert error.startswith("2: is no TOML")
    [bare] = errors(tmp_path, "[job.tiny]\nbase = models/base\n")
    assert bare.startswith("2: is no TOML: ")
    assert bare.endswith(": base = models/base; a text is written in quotes")
    [number] = errors(tmp_path, "[job.tiny]\nrevision = 1.2.3\n")
    assert number.endswith(": revision = 1.2.3")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="No such file"):
        read_jobs(tmp_path / "modelcheck.toml")


def test_several_jobs_in_one_file(tmp_path: Path) -> None:
    assert list(read(tmp_path, SMALL + SMALL.replace("job.tiny", "job.other"))) == ["tiny", "other"]


def test_a_job_says_where_it_says_something(tmp_path: Path) -> None:
    [job] = read(tmp_path, SMALL).values()
    assert job.at("data.eval.cluster") == f"{tmp_path / 'modelcheck.toml'}:8: job.tiny.data.eval.cluster"
    assert job.at("suite[1].margin").endswith(":14: job.tiny.suite[1].margin")
    assert job.at("train.args.optim").endswith(":1: job.tiny.train.args.optim")  # the job's own line, where it does not


def test_what_is_unwise_is_a_warning(tmp_path: Path) -> None:
    text = SMALL.replace('"guard"\nmargin', '"target"\nmin_gain').replace('base = "base"', 'base = "org/model"')
    [job] = read(tmp_path, text).values()
    [forgetting], [moving] = job.warnings, job.moving
    assert "no suite is a guard" in forgetting
    assert "no commit as revision" in moving


def test_settings_and_jobs_share_modelcheck_toml(tmp_path: Path) -> None:
    text = f'fail-on = "warning"\n{SMALL}'
    assert list(read(tmp_path, text)) == ["tiny"]
    assert settings.find(tmp_path).fail_on == "warning"


def test_a_mark_of_the_byte_order_is_no_content(tmp_path: Path) -> None:
    """As some editors write it; files of rows may have it too."""
    assert list(read(tmp_path, f'\ufefffail-on = "warning"\n{SMALL}')) == ["tiny"]
    assert settings.find(tmp_path).fail_on == "warning"
    [error] = errors(tmp_path, "\ufeff" + SMALL.replace("0.05", "5"))
    assert error.startswith("14: job.tiny.suite[1].margin: ")


def test_a_misspelt_table_is_not_passed_over(tmp_path: Path) -> None:
    lone = '[jobs.other]\nbase = "base"\n'
    for text, line in ((SMALL + lone, 16), (lone, 1)):
        [error] = errors(tmp_path, text)
        assert error.startswith(f"{line}: jobs: unknown key; did you mean 'job'?; known are [job.NAME] tables and")


def test_a_file_of_jobs_holds_no_settings(tmp_path: Path) -> None:
    [error] = errors(tmp_path, f'fail-on = "warning"\n{SMALL}', "rugby.modelcheck.toml")
    assert error.startswith("1: fail-on: a file of jobs holds [job.NAME] tables only")


def test_names_of_job_files() -> None:
    names = ["modelcheck.toml", "rugby.modelcheck.toml", "pyproject.toml", "modelcheck.toml.bak"]
    assert [is_job_file(Path(name)) for name in names] == [True, True, False, False]


def test_lines_of_keys() -> None:
    text = '''\
# [no.table]
["a b".c]   # x = 1
d.e = """
f = 1
"""
g = [
  { h = 1.5, i = "}" },
  2,
]
[[t]]
j = 1979-05-27T07:32:00Z
[[t.u]]
[t.v]
k = 1
[[t]]
[t.v]
k = 2
'''
    wanted = {
        ("a b", "c"): 2, ("a b", "c", "d", "e"): 3, ("a b", "c", "g"): 6, ("a b", "c", "g", 0, "h"): 7,
        ("a b", "c", "g", 0, "i"): 7, ("a b", "c", "g", 1): 8, ("t", 0, "j"): 11, ("t", 0, "u", 0): 12,
        ("t", 0, "v", "k"): 14, ("t", 1): 15, ("t", 1, "v", "k"): 17,
    }  # fmt: skip
    assert {place: lines(text).get(place) for place in wanted} == wanted


def test_the_guide_shows_a_job_and_every_key_with_its_default(tmp_path: Path) -> None:
    from dataclasses import fields

    from modelcheck.finetune import job as data
    from modelcheck.manual import BLOCK

    guide = (Path(__file__).parents[2] / "docs" / "job-file.md").read_text()
    [shown] = [text for _, file, text in BLOCK.findall(guide) if file == "rugby.modelcheck.toml"]
    assert list(read(tmp_path, shown)) == ["rugby"]
    table = guide
    classes = (
        Data,
        data.Train,
        data.Lora,
        data.Schedule,
        data.Eval,
        data.Vllm,
        data.Generation,
        data.Gate,
        data.Suite,
        data.Arm,
    )
    keys = {f.name for cls in classes for f in fields(cls)}
    assert {key for key in keys if f"`{key}" not in table} == set()
