"""The job as it was run, as a file: read again it is the same job, and no secret stands in it."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from finetuning import TINY

from modelcheck.finetune.job import Job
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.resolved import toml
from modelcheck.finetune.secrets import HIDDEN, is_secret, redacted, secrets_in, without

FILES = {"full": Path(__file__).parent / "full.modelcheck.toml", "tiny": TINY / "modelcheck.toml"}


def again(job: Job, folder: Path, text: str) -> Job:
    """The job that a file of that text holds, as if it had been read where the other one was."""
    place = folder / "again.modelcheck.toml"
    place.write_text(text)
    [found] = read_jobs(place).values()
    return dataclasses.replace(found, file=job.file, line=job.line, warnings=job.warnings)


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_again_is_the_same_job(name: str, tmp_path: Path) -> None:
    [job] = read_jobs(FILES[name]).values()
    assert again(job, tmp_path, toml(job)) == job


@pytest.mark.parametrize("share", ["7%", "12.5%", "33.3%"])
def test_a_share_is_read_again_to_the_last_bit(share: str, tmp_path: Path) -> None:
    text = FILES["full"].read_text().replace('"25%"', f'"{share}"')
    place = tmp_path / "share.modelcheck.toml"
    place.write_text(text)
    [job] = read_jobs(place).values()
    assert again(job, tmp_path, toml(job)) == job


def test_no_secret_is_written_and_the_rest_is_the_same_job_once_they_are_put_back(tmp_path: Path) -> None:
    [plain] = read_jobs(FILES["full"]).values()
    secrets = {"HF_TOKEN": "hf_not-to-be-seen", "PROXY": "http://me:not-to-be-seen@proxy:80"}
    job = dataclasses.replace(plain, train=dataclasses.replace(plain.train, env=secrets))
    text = toml(job)
    assert "not-to-be-seen" not in text
    assert tomllib.loads(text)["job"]["rugby"]["train"]["env"] == {
        "HF_TOKEN": HIDDEN,
        "PROXY": f"http://{HIDDEN}@proxy:80",
    }
    put_back = text.replace(f'"{HIDDEN}"', '"hf_not-to-be-seen"', 2).replace(f"//{HIDDEN}@", "//me:not-to-be-seen@")
    assert again(job, tmp_path, put_back) == job


SECRETS = ("HF_TOKEN", "api_key", "key", "OPENAI-API-KEY", "DB_PASSWORD", "passphrase", "aws_secret", "Credentials")
OPEN = ("max_tokens", "trainable_tokens", "api_key_env", "TOKENIZERS_PARALLELISM", "monkey", "keys", "compass")


def test_secrets_are_known_by_their_names() -> None:
    assert [name for name in SECRETS if not is_secret(name)] == []
    assert [name for name in OPEN if is_secret(name)] == []
    assert redacted({"a": [{"token": ["one", "two"]}], "empty_key": ""}) == {
        "a": [{"token": [HIDDEN, HIDDEN]}],
        "empty_key": "",
    }


def test_a_secret_within_another_is_taken_out_whole() -> None:
    found = secrets_in({"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefghij", "C_TOKEN": "short", "PATH": "/usr/bin/env"})
    assert without("abcdefghij abcdefgh short", found) == f"{HIDDEN} {HIDDEN} short"
