"""What `pytest --finetune-eval` costs beside training and generation, on the tiny job; needs modelcheck[finetune]."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import ROOT, Row, answer, show

TINY = ROOT / "examples" / "tiny"
JOB = """
import json, sys, time
from pathlib import Path
from modelcheck.finetune import job_file
from modelcheck.finetune.run import JobRun
from modelcheck.finetune.stage import Worker
from modelcheck.finetune.workers import Workers

spent = {}
real = Worker.ask
def ask(self, request, *args):
    began = time.perf_counter()
    if "preload" not in spent:
        # Refused, but not before everything is imported: what is left to wait for beside our own first steps.
        real(self, {"stage": "generate"}, 300)
        spent["preload"] = time.perf_counter() - began
        began = time.perf_counter()
    answer = real(self, request, *args)
    spent[request["stage"]] = spent.get(request["stage"], 0) + time.perf_counter() - began
    return answer
Worker.ask = ask
began = time.perf_counter()
[job] = job_file.read_jobs(Path(sys.argv[1])).values()
with Workers() as workers:
    run = JobRun(job, workers)
    bad = [name for name in run.items if run.outcome(name).verdict != "pass"]
    run.keep(run.report())
    run.close()
print(json.dumps({**spent, "total": time.perf_counter() - began, "bad": bad}))
"""
GENERATE = """
import json, sys, time, torch
from pathlib import Path
from modelcheck.finetune.engines import Prompt
from modelcheck.finetune.engines.transformers import Engine
from modelcheck.finetune.job import Generation
from modelcheck.finetune.prompts import Prompts
from transformers import GenerationConfig

torch.set_num_threads(1)
folder, rows = Path(sys.argv[1]), [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
with Prompts(folder) as made:
    prompts = dict(enumerate(made.ids([{"role": "user", "content": row["question"]}] for row in rows)))
engine = Engine(str(folder), "float32", 64)
asked = {key: Prompt(ids) for key, ids in prompts.items()}
gen = GenerationConfig(max_new_tokens=16, do_sample=False, eos_token_id=2, pad_token_id=0)
keys = sorted(prompts, key=lambda key: -len(prompts[key]))

def ours():
    return sum(len(batch) for batch in engine.answers(asked, Generation(max_tokens=16), (2,)))

def bare():
    for start in range(0, len(keys), 64):
        batch = [prompts[key] for key in keys[start:start + 64]]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
        with torch.inference_mode():
            engine.model.generate(input_ids=ids, attention_mask=mask, generation_config=gen)

def seconds(run):
    began = time.process_time()
    run()
    return time.process_time() - began

ours(), bare()
times = [(seconds(ours), seconds(bare)) for _ in range(9)]
print(json.dumps([sorted(column)[4] for column in zip(*times)]))
"""


def rows() -> Iterator[Row]:
    """Where the time of the tiny job goes, and the engine against a loop around `generate`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(TINY, Path(name) / "tiny", ignore=shutil.ignore_patterns(".modelcheck")))
        spent = json.loads(answer(JOB, str(folder / "modelcheck.toml")).splitlines()[-1])
    if bad := spent.pop("bad"):
        raise SystemExit(f"the tiny job did not pass: {', '.join(bad)}")
    total = spent.pop("total")
    for stage, took in spent.items():
        print(f"    {stage:<10} {took:7.2f} s  {took / total:5.1%}")
    own = total - sum(spent.values())
    yield Row("tiny job: our own time, of the whole", own, "the whole job", total, 0.1)
    worked = spent["train"] + spent["generate"]
    yield Row(
        "tiny job: all but training, generation and imports", total - worked - spent["preload"], "the whole", total, 0.5
    )
    ours, bare = json.loads(answer(GENERATE, str(TINY / "base"), str(TINY / "guard-copy.jsonl")))
    yield Row("100 answers of the tiny base (CPU seconds)", ours, "a bare generate loop", bare, 1.25)


if __name__ == "__main__":
    show(rows())
