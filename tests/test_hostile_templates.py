"""A template is a program from the internet: whatever it does, its answer comes soon, and so do its neighbours'."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelcheck
from modelcheck.render import renderer as rendering
from modelcheck.render.renderer import Renderer, RendererError, Spare
from modelcheck.report import TargetReport
from modelcheck.testing import lint_overlay, write_overlay

SECONDS = 5.0
BOMB, BROKEN = "template-resource-bomb", "template-broken"
DEEPEN = "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}"

QUICK = {
    "a gigabyte of memory": ("{{ messages[0].content * 2000000000 }}", BOMB),
    "a constant of ten gigabytes": ("{{ 'a' * 10**10 }}", BOMB),
    "a format of two gigabytes": ("{{ '%2000000000d' | format(1) }}", BOMB),
    "a list of gigabytes": ("{% set l = [0] * 500000000 %}{{ l | length }}", BOMB),
    "a flood of output": ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", BOMB),
    "endless recursion": ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", BROKEN),
    "deep parentheses": ("{{ " + "(" * 50000 + "1" + ")" * 50000 + " }}", BROKEN),
    "deep blocks": ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, BROKEN),
    "loops deeper than Python allows": ("{% for i in [1] %}" * 300 + "{% endfor %}" * 300, BROKEN),
    "a way to the classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", BROKEN),
    "a way to the globals": ("{{ cycler.__init__.__globals__.os.kill(1, 9) }}", BROKEN),
    "an include": ("{% include '/etc/passwd' %}", BROKEN),
    "an import": ("{% import 'os' as os %}{{ os.system('id') }}", BROKEN),
}
SLOW = {
    "a power that is folded while compiling": ("{{ 9 ** (9 ** 9) }}", BOMB),
    "nested ranges": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", BOMB),
    "a macro that doubles": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        BOMB,
    ),
    "a string that doubles": (
        "{% set ns = namespace(x='a' * 99) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        BOMB,
    ),
    "powers of powers": (
        "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x ** 9 %}{% endfor %}",
        BOMB,
    ),
    "a long sort": ("{{ (range(99999) | list * 50) | sort | length }}", BOMB),
    "filler text": ("{{ lipsum(n=100000) }}", BOMB),
    "wrapping": ("{{ ('x ' * 4000000) | wordwrap(1) }}", BOMB),
    "a template of 15 MB": ("x" * 15_000_000, BOMB),
    "half a million expressions": ("{{ 1 }}" * 400_000, BOMB),
    "a deep list as text": (DEEPEN + "{{ ns.x }}", None),
    "a deep list as JSON": (DEEPEN + "{{ ns.x | tojson }}", None),
}


def judged(template: str) -> TargetReport:
    started = time.monotonic()
    [report] = lint_overlay({"chat_template.jinja": template})
    assert time.monotonic() - started < SECONDS
    assert report.internal == []
    return report


def slugs(report: TargetReport) -> set[str]:
    return {f.slug for f in report.findings if f.slug in (BOMB, BROKEN)}


@pytest.mark.parametrize(("template", "slug"), QUICK.values(), ids=QUICK)
def test_a_hostile_template_is_a_finding(template: str, slug: str) -> None:
    assert slugs(judged(template)) == {slug}


@pytest.mark.slow
@pytest.mark.parametrize(("template", "slug"), SLOW.values(), ids=SLOW)
def test_a_template_that_takes_its_time_is_a_finding(template: str, slug: str | None) -> None:
    assert slugs(judged(template)) == {slug or BOMB}


@pytest.mark.parametrize("odd", ["\\ud800", "\\x00", "\\u202e", "\\uffff"])
def test_odd_characters_in_the_output_pass(odd: str) -> None:
    report = judged("{{ '" + odd + "' }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    assert slugs(report) == set()


def test_a_bomb_changes_nothing_for_its_neighbours(tmp_path: Path) -> None:
    """The one that is killed while compiling, between two folders that share its renderer."""
    alone = judged("{% for m in messages %}{{ m.content }}{% endfor %}")
    healthy = {"chat_template.jinja": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    folders = [
        write_overlay(tmp_path / "before", healthy),
        write_overlay(tmp_path / "bomb", {"chat_template.jinja": "{{ 9 ** (9 ** 9) }}"}),
        write_overlay(tmp_path / "after", healthy),
    ]
    before, bomb, after = modelcheck.lint(*folders)
    assert slugs(bomb) == {BOMB}
    assert before.findings == after.findings == alone.findings
    assert before.skipped == after.skipped == alone.skipped


def test_the_renderer_answers_after_a_kill() -> None:
    with Renderer() as renderer:
        assert "killed" in renderer.run_plan("{{ 'a' * 10**10 }}", {})
        assert renderer.render("{{ 1 + 1 }}", {}, [{"messages": [{}]}]) == {"outcomes": [{"text": "2"}]}


def test_a_child_sees_neither_files_nor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Renderer() as renderer:
        renderer.start()
        process = renderer._process
        assert process is not None
        if sys.platform == "linux":
            assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()


class TestTheZygote:
    """The process that outlives the children may itself fail."""

    REQUEST: tuple[str, dict[str, str], list[dict[str, Any]]] = (
        "{{ messages[0].content }}",
        {},
        [{"messages": [{"role": "user", "content": "hi"}]}],
    )
    ANSWER = {"outcomes": [{"text": "hi"}]}

    @pytest.fixture(autouse=True)
    def spare(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spare]:
        """Nothing that an earlier test left."""
        spare = Spare()
        monkeypatch.setattr(rendering, "SPARE", spare)
        yield spare
        spare.end()

    def test_the_next_renderer_goes_on_with_it(self) -> None:
        with Renderer() as renderer:
            assert renderer.render(*self.REQUEST) == self.ANSWER
            first = renderer._process
        with Renderer() as renderer, Renderer() as beside:
            assert renderer.render(*self.REQUEST) == beside.render(*self.REQUEST) == self.ANSWER
            assert renderer._process is first
            other = beside._process
        assert first
        assert other
        assert [first.poll(), other.poll()].count(None) == 1  # one is kept

    def test_one_that_died_meanwhile_is_replaced(self) -> None:
        with Renderer() as renderer:
            assert renderer.render(*self.REQUEST) == self.ANSWER
            first = renderer._process
        assert first
        first.kill()
        with Renderer() as renderer:
            assert renderer.render(*self.REQUEST) == self.ANSWER

    def test_a_fork_starts_its_own(self, spare: Spare, monkeypatch: pytest.MonkeyPatch) -> None:
        with Renderer() as renderer:
            renderer.start()
            first = renderer._process
        monkeypatch.setattr(os, "getpid", lambda: 0)
        with Renderer() as renderer:
            assert renderer.render(*self.REQUEST) == self.ANSWER
            assert renderer._process is not first
        assert first
        first.communicate()

    def test_forks_that_live_on_do_not_hold_up_the_end(self) -> None:
        """As the workers of a data loader, which have a copy of every pipe."""
        program = f"""
import os, time
from modelcheck.render.renderer import Renderer
with Renderer() as renderer:
    renderer.render(*{self.REQUEST!r})
if os.fork() == 0:
    time.sleep(60)
"""
        began = time.monotonic()
        with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as run:
            try:
                assert run.wait(30) == 0
            finally:
                os.killpg(run.pid, signal.SIGKILL)
        assert time.monotonic() - began < 30

    def test_killed_from_outside_it_is_replaced(self) -> None:
        with Renderer() as renderer:
            assert renderer.render(*self.REQUEST) == self.ANSWER
            os.kill(renderer._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            assert renderer.render(*self.REQUEST) == self.ANSWER

    def test_without_jinja2_it_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "jinja2.py").write_text("raise ModuleNotFoundError(\"No module named 'jinja2'\")")
        monkeypatch.setattr(rendering, "_import_paths", lambda *_: [str(tmp_path)])
        with Renderer() as renderer, pytest.raises(RendererError, match="No module named 'jinja2'"):
            renderer.render(*self.REQUEST)

    def test_without_an_interpreter_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        with Renderer() as renderer, pytest.raises(RendererError, match="cannot be started"):
            renderer.render(*self.REQUEST)

    def test_stuck_it_is_given_up(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        script = tmp_path / "stuck.py"
        script.write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setattr(rendering, "ZYGOTE", script)
        monkeypatch.setattr(rendering, "PATIENCE", 0.3)
        with Renderer() as renderer, pytest.raises(RendererError, match="died"):
            renderer.render(*self.REQUEST)

    def test_its_failure_is_could_not_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        [report] = lint_overlay({})
        assert report.internal == []
        reasons = {s.slug: s.reason for s in report.skipped}
        assert "the rendering process cannot be started" in reasons[BROKEN]
