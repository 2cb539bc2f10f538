"""`--target`: whom a fault bites."""

from __future__ import annotations

import pytest

from modelcheck import Severity
from modelcheck.errors import UsageError
from modelcheck.target import Target, Targets


@pytest.mark.parametrize(
    ("specification", "before_5", "from_5"),
    [
        ("transformers<5", True, False),
        ("transformers<5.0.0", True, False),
        ("transformers<5.1", True, True),
        ("transformers<=5", True, True),
        ("transformers<=4.57", True, False),
        ("transformers==4", True, False),
        ("transformers==4.57.6", True, False),
        ("transformers==5", False, True),
        ("transformers==5.0.0", False, True),
        ("transformers>=5", False, True),
        ("transformers>=5.0", False, True),
        ("transformers>=4.50", True, True),
        ("transformers>4.57", True, True),
        ("transformers>5", False, True),
        ("transformers", False, True),
    ],
)
def test_a_bound_means_the_versions_that_satisfy_it(specification: str, before_5: bool, from_5: bool) -> None:
    targets = Targets.parse([specification])
    assert targets.may_be("transformers", below=(5,)) is before_5
    assert targets.may_be("transformers", at_least=(5,)) is from_5
    assert targets.may_be("transformers")
    assert not targets.may_be("vllm", below=(5,))


def test_several_at_once_each_count() -> None:
    targets = Targets.parse(["transformers<5", "vllm == 0.33", "llama.cpp"])
    assert targets.may_be("transformers", below=(5,))
    assert targets.may_be("vllm", at_least=(0, 33), below=(0, 33, 1))
    assert not targets.may_be("vllm", below=(0, 33))
    assert targets.includes("ollama", "llama.cpp")
    assert not targets.includes("ollama", "tgi")
    assert targets.first == "transformers"
    assert targets.asked("vllm") == Target("vllm", "==", (0, 33))
    assert targets.asked("tgi") is None
    assert [str(t) for t in targets.named] == ["transformers<5", "vllm==0.33", "llama.cpp"]


def test_severity_is_full_for_whom_it_bites_less_for_nobody_and_nothing_for_others() -> None:
    bitten, nobody, others = (Targets.parse(named) for named in (["tgi", "vllm==0.33"], [], ["ollama"]))
    assert bitten.severity("vllm", unnamed=Severity.WARNING) is Severity.ERROR
    assert nobody.severity("vllm", unnamed=Severity.WARNING) is Severity.WARNING
    assert nobody.severity("vllm") is None
    assert others.severity("vllm", unnamed=Severity.WARNING) is None


@pytest.mark.parametrize("specification", ["vlm", "vllm=0.33", "vllm==0.33,<1", "transformers>=five", ""])
def test_what_cannot_be_read_is_refused(specification: str) -> None:
    with pytest.raises(UsageError, match="--target"):
        Targets.parse([specification])
