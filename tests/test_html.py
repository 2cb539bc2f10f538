"""The report as a page: everything is in it, nothing is fetched, no checkpoint acts on it, everybody can read it."""

from __future__ import annotations

import functools
import json
import pickle
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pages import CSS, Page, assert_in_order, assert_loads_nothing, colours, contrast
from support import run as command

from modelcheck import packs
from modelcheck.demo import FAULTS
from modelcheck.engine import Options, lint_targets
from modelcheck.facts.norm_histogram import BINS, NormHistogram
from modelcheck.finding import Severity
from modelcheck.output import html
from modelcheck.output.page import blocks, inline
from modelcheck.output.plot import plot
from modelcheck.output.text import printable
from modelcheck.report import Skipped, TargetReport
from modelcheck.run import Run
from modelcheck.sources import Pinned
from modelcheck.testing import write_overlay

PLANTED = {name: json.dumps(patch) for name, patch in FAULTS.items()}
ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e</pre></style>{{ 7 * 7 }}'
HOSTILE = {
    "tokenizer_config.json": json.dumps({"pad_token": ATTACK, "unk_token": ATTACK, "tokenizer_class": ATTACK}),
    "generation_config.json": json.dumps({"eos_token_id": ATTACK}),
    "config.json": json.dumps({"vocab_size": ATTACK, "model_type": ATTACK, "architectures": [ATTACK]}),
}
UNSURE = {"model.safetensors": "null"}
DEAD_ROWS = {"tensors.json": '{"model.embed_tokens.weight": {"2": "zeros", "4": "zeros", "300": "nan"}}'}


def run_of(**options: Any) -> Run:
    return Run(Options(figures=True, **options), Severity.ERROR, strict=False, per_model_ignore=())


def linted(*targets: Path | str, **options: Any) -> tuple[list[TargetReport], Page]:
    """The reports on these targets, and the page of them."""
    run = run_of(**options)
    reports = (
        [report_on(str(t)) for t in targets] if not options else list(run.lint([str(t) for t in targets], Counter()))
    )
    return reports, Page(html.render(reports, packs.load(), run))


def rectangles(page: Page, kind: str) -> list[tuple[float, ...]]:
    """(x, y, width, height) of the rectangles of a class."""
    found = page.all("rect", of=kind)
    return [tuple(float(e.attributes[name]) for name in ("x", "y", "width", "height")) for e in found]


def test_imports_are_looked_up_as_before_a_picture_was_drawn() -> None:
    program = "from modelcheck.output import picture as p; p.chart('XY'); import sys; print(*map(type, sys.meta_path))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pygal" not in done.stdout


@functools.cache
def report_on(target: str) -> TargetReport:
    [report] = run_of().lint([target], Counter())
    return report


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{name: folder}, one of each kind."""
    place = tmp_path_factory.mktemp("targets")
    kinds = {"healthy": {}, "planted": PLANTED, "hostile": HOSTILE, "rows": DEAD_ROWS, "unsure": UNSURE}
    made = {name: write_overlay(place / name, overlay) for name, overlay in kinds.items()}
    return made | {"named": write_overlay(place / "<b onclick=x>&amp;", HOSTILE), "nowhere": place / "nowhere"}


GROUPS = [
    ("planted",),
    ("healthy",),
    ("nowhere",),
    ("unsure",),
    ("planted", "nowhere", "rows", "healthy"),
    ("hostile",),
]


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
class TestEveryPage:
    def test_is_well_formed_with_landmarks_and_headings_in_order(
        self, folders: dict[str, Path], names: tuple[str, ...]
    ) -> None:
        _, page = linted(*(folders[name] for name in names))
        assert_in_order(page)

    def test_loads_nothing(self, folders: dict[str, Path], names: tuple[str, ...]) -> None:
        _, page = linted(*(folders[name] for name in names))
        assert_loads_nothing(page)

    def test_has_every_finding_and_every_reason(self, folders: dict[str, Path], names: tuple[str, ...]) -> None:
        reports, page = linted(*(folders[name] for name in names))
        for report in reports:
            assert printable(report.target) in page.text
            for finding in report.findings:
                assert " ".join(printable(finding.message).split()) in page.text
                assert f"{finding.code} {finding.slug}" in page.text
                assert finding.at is None or printable(finding.at) in page.text
            for skipped in report.skipped:
                assert " ".join(printable(skipped.reason).split()) in page.text
                assert f"{skipped.code} {skipped.slug}" in page.text
            assert report.error is None or " ".join(printable(report.error).split()) in page.text


def test_a_hostile_checkpoint_is_only_text(folders: dict[str, Path]) -> None:
    reports, page = linted(folders["hostile"], folders["named"])
    assert sum("<script>" in f.message for r in reports for f in r.findings) > 2
    assert page.all("script", "img", "b") == []
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<b onclick=x>&amp;" in page.text
    assert "\u202e" not in page.source


class TestVerdicts:
    def states(self, page: Page) -> list[str]:
        return [e.attributes["class"].split()[-1] for e in page.all("li", of="state")]

    def test_stand_first_and_in_order_with_their_counts(self, folders: dict[str, Path]) -> None:
        reports, page = linted(*(folders[n] for n in ("planted", "nowhere", "unsure", "healthy")))
        assert self.states(page) == ["error", "broken", "unsure", "clean"]
        assert page.all("h2")[0].text == "Verdicts"
        numbers = [int(e.text) for e in page.all("dd") if "main" in e.path and "li" in e.path]
        tally = [Counter(f.severity for f in r.findings) for r in reports]
        shown = [
            (*(t[s] for s in sorted(Severity, reverse=True)), len(r.skipped))
            for t, r in zip(tally, reports, strict=True)
        ]
        assert shown[1] == (0, 0, 0, 0)
        assert numbers == [n for i, of_target in enumerate(shown) if i != 1 for n in of_target]
        assert page.all("title")[0].text.startswith("modelcheck: 4 targets: 1 with errors")

    def test_what_could_not_be_checked_never_reads_as_fine(self, folders: dict[str, Path]) -> None:
        [report], page = linted(folders["unsure"])
        assert report.findings == []
        words = f"no findings; {len(report.skipped)} rules could not be checked"
        assert page.all("title")[0].text == f"modelcheck: 1 target: {words}"

    def test_an_error_of_ours_is_told(self) -> None:
        report = TargetReport("x", "folder", internal=["internal error in <TOK001>"])
        page = Page(html.render([report], packs.load(), run_of()))
        assert self.states(page) == ["broken"]
        assert "internal error in <TOK001>; please report it" in page.text

    def test_what_the_network_broke_off_shows_both(self) -> None:
        skipped = [Skipped("WGT001", "untrained-rows", "the hub broke off")]
        hub = [Pinned("org/name", "c0ffee", 22_000_000, 141_000_000_000)]
        report = TargetReport("org/name", "hub", error="the hub broke off", skipped=skipped, hub=hub)
        page = Page(html.render([report], packs.load(), run_of()))
        assert "not read in full; 1 rule could not be checked" in page.text
        assert "at c0ffee, 22 MB of 141 GB read over the network" in page.text


class TestFixes:
    def test_the_commands_are_those_that_mend(self, folders: dict[str, Path]) -> None:
        [report], page = linted(folders["planted"])
        shown = {e.text for e in page.all("pre", of="command")}
        target = str(folders["planted"])
        wanted = {f"modelcheck fix {target}{more}" for more in ("", " --unsafe", " --unsafe --all-untrained")}
        assert shown == wanted
        result = command(*shlex.split(max(shown, key=len))[1:])
        assert result.code == 1
        mended = {f.slug for f in report.findings if f.slug in report.mended}
        assert {slug for slug in mended if slug not in result.stdout} == set()

    def test_they_carry_the_options_of_the_run(self, folders: dict[str, Path]) -> None:
        _, page = linted(folders["planted"], target=["vllm>=0.10"], ignore=["template-date"], weights="full")
        [first, *_] = page.all("pre", of="command")
        more = ["--weights", "full", "--target", "vllm>=0.10", "--ignore", "template-date"]
        assert shlex.split(first.text) == ["modelcheck", "fix", str(folders["planted"]), *more]
        assert command(*shlex.split(first.text)[1:]).code == 1
        assert "vllm>=0.10" in next(e.text for e in page.all("dd") if "vllm" in e.text)

    def test_there_is_none_for_a_gguf(self, folders: dict[str, Path]) -> None:
        [report], _ = linted(folders["planted"])
        assert Page(html.render([replace(report, source="gguf")], packs.load(), run_of())).all("pre") == []


class TestManual:
    def test_its_why_causes_and_fix_safety_are_behind_a_summary(self, folders: dict[str, Path]) -> None:
        [report], page = linted(folders["planted"])
        headings = [e.text for e in page.all("h5")]
        rules = {(f.severity, f.code) for f in report.findings}
        assert headings.count("Why") == headings.count("Common causes") == len(rules)
        assert {e.path[-1] for e in page.all("h5")} == {"details"}
        assert {e.path[-1] for e in page.all("summary")} == {"details"}

    def test_a_section_becomes_paragraphs_and_lists(self) -> None:
        text = "first\n    line:\n\n    - one\n      more\n    - two\n\n    last"
        assert list(blocks(text)) == [("p", ["First line:"]), ("ul", ["one more", "two"]), ("p", ["Last"])]

    def test_backticks_are_code_and_the_rest_is_escaped(self) -> None:
        assert inline("`a < b` & <c>") == "<code>a &lt; b</code> &amp; &lt;c&gt;"


class TestNorms:
    def test_the_picture_its_words_and_its_numbers_agree(self, folders: dict[str, Path]) -> None:
        [report], page = linted(folders["rows"])
        norms = report.norms
        assert norms is not None
        assert (norms.near_zero, norms.not_finite, sum(norms.counts)) == (2, 1, 317)
        [svg] = page.all("svg")
        assert svg.attributes["role"] == "img"
        [caption] = page.all("figcaption")
        assert "2 are near zero" in caption.text
        assert "1 holds a NaN" in caption.text
        assert caption.text == next(e.text for e in page.all("desc"))
        assert sum(int(e.text) for e in page.all("td")) == 319
        assert len(page.all("rect", of="marked")) == 1
        assert len(page.all("rect", of="marked") + page.all("rect", of="bar")) == len(page.all("td"))

    def test_they_are_the_rows_norms(self, folders: dict[str, Path]) -> None:
        import numpy as np

        from modelcheck import tiny

        true = np.linalg.norm(tiny.tensors()["model.embed_tokens.weight"], axis=1)
        [report], _ = linted(folders["healthy"])
        norms = report.norms
        assert norms is not None
        assert norms.edges[0] == pytest.approx(true.min(), rel=0.01)
        assert norms.edges[-1] == pytest.approx(true.max(), rel=0.01)
        assert norms.median == pytest.approx(np.median(true), rel=0.01)
        assert len(norms.counts) == BINS
        assert sum(norms.counts) == 320

    def test_other_forms_do_not_pay_for_them(self, folders: dict[str, Path]) -> None:
        [report] = lint_targets([folders["healthy"]], Options())
        assert report.norms is None

    def test_they_cross_from_one_process_to_another(self, folders: dict[str, Path]) -> None:
        [report], _ = linted(folders["healthy"])
        assert pickle.loads(pickle.dumps(report)) == report

    @pytest.mark.parametrize("options", [{"weights": "none"}, {"select": ["tokenizer", "template"]}])
    def test_there_is_no_picture_where_no_rule_read_rows(self, folders: dict[str, Path], options: Any) -> None:
        [report], page = linted(folders["healthy"], **options)
        assert report.norms is None
        assert page.all("svg") == []

    def test_of_rows_in_use_it_says_so(self, folders: dict[str, Path]) -> None:
        [report], page = linted(folders["healthy"], weights="used")
        assert report.norms is not None
        if report.norms.read < 320:
            assert f"{report.norms.read} of 320 rows" in page.text
        assert sum(report.norms.counts) == report.norms.read

    @pytest.mark.parametrize(
        ("low", "high"), [(0.3, 0.31), (1e-30, 1e30), (0.999, 1.001), (127.5, 128.5), (5, 500), (1, 1.0000001)]
    )
    def test_its_axes_are_logarithmic_and_near_zero_stands_apart(self, low: float, high: float) -> None:
        ratio = (high / low) ** (1 / BINS)
        edges = (*(low * ratio**i for i in range(BINS)), high)
        counts = (1, 10, 100, 1000, *[25_000] * (BINS - 4))
        histogram = NormHistogram("t", 10**6, 10**6, low * ratio**BINS**0.5, 0.0, edges, counts, 3, 0)
        drawn = plot(histogram)
        assert plot(histogram) == drawn  # pygal names its charts at random
        picture = Page(f"<body>{drawn.svg}</body>")
        places = {kind: rectangles(picture, kind) for kind in ("bar", "marked", "base", "median")}
        [base], [near], [median] = places["base"], places["marked"], places["median"]
        assert [x for x, *_ in places["bar"]] == pytest.approx(
            [base[0] + i * base[2] / BINS for i in range(BINS)], abs=0.1
        )
        assert near[0] + near[2] < base[0]
        assert (median[0] - base[0]) / base[2] == pytest.approx(BINS**-0.5, abs=0.01)
        steps = [before[1] - after[1] for before, after in pairwise(places["bar"][:4])]
        assert min(steps) > 20
        assert steps == pytest.approx(3 * steps[:1])
        assert {round(y + height) for _, y, _, height in (*places["bar"], near)} == {round(base[1])}
        words = [e.text for e in picture.all("text")]
        assert words[:6] == ["1", "10", "100", "1k", "10k", "100k"]
        assert words[6:12] == [f"{low:.3g}", *(f"{edges[i]:.3g}" for i in (10, 20, 30)), f"{high:.3g}", "near 0"]
        assert words[-2:] == ["3", "median"]

    def test_all_rows_zero_is_one_bar(self, tmp_path: Path) -> None:
        zeros = '{"model.embed_tokens.weight": ["BF16", [320, 64], "zeros"]}'
        [report], page = linted(write_overlay(tmp_path / "zeros", {"tensors.json": zeros}))
        assert report.norms is not None
        assert (report.norms.edges, report.norms.near_zero) == ((), 320)
        assert len(page.all("rect", of="marked")) == 1
        assert page.all("rect", of="bar") + page.all("rect", of="median") == []

    def test_all_rows_without_a_number_are_no_bar(self) -> None:
        drawn = plot(NormHistogram("t", 320, 320, 0.0, 0.0, (), (), 0, 320))
        assert drawn.bars == ()
        assert "No data" in drawn.svg


class TestColours:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("role", ["text", "soft", "link", "error", "warning", "info", "clean", "unsure"])
    def test_text_can_be_read_on_everything(self, scheme: str, role: str) -> None:
        palette = colours()[scheme]
        for ground in ("ground", "surface", "inset"):
            assert contrast(palette[role], palette[ground]) >= 4.5, (role, ground)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_tokens_can_be_read(self, scheme: str) -> None:
        palette = colours()[scheme]
        assert contrast(palette["text"], palette["loss"]) >= 4.5
        assert contrast(palette["surface"], palette["clean"]) >= 4.5

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("role", ["bar", "mark", "soft", "text"])
    def test_a_plot_can_be_seen(self, scheme: str, role: str) -> None:
        assert contrast(colours()[scheme][role], colours()[scheme]["surface"]) >= 3

    def test_every_colour_is_one_of_the_roles(self) -> None:
        rules = re.sub(r":root \{.*?\}", "", re.sub(r"/\*.*?\*/", "", CSS), flags=re.DOTALL)
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsl", rules) == []
        used = set(re.findall(r"var\(--(\w+)\)", CSS)) - {"tone"}
        assert used == set(colours()["light"]) == set(colours()["dark"])

    def test_contrast_is_as_the_standard_says(self) -> None:
        assert contrast("#000000", "#ffffff") == pytest.approx(21)
        assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_from_the_command_line(folders: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    targets = [str(folders[name]) for name in ("planted", "rows")]
    result = command("lint", *targets, "--format", "html", "--output-file", str(file))
    assert (result.code, result.stdout) == (1, "")
    assert len(Page(file.read_text(encoding="utf-8")).all("svg")) == 2
