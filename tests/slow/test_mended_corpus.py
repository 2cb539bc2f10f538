"""Every published template that a fixer speaks to is mended, with nothing else changed, or the reason is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support import proposed

from modelcheck import packs
from modelcheck.facts.chat_template import Template
from modelcheck.facts.conversations import conversations, rendered
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.render.renderer import Renderer
from modelcheck.testing import write_overlay

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "templates"
OWN = Path(__file__).parents[1] / "templates"
SLUGS = ["template-date", "template-date-frozen", "generation-prompt-ignored"]

pytestmark = pytest.mark.slow


def _told(folder: Path) -> list[Path]:
    """The templates of which one of the rules has something to say."""
    checks = [check for check in packs.load().checks if check.slug in SLUGS]
    found = []
    with Renderer() as renderer:
        for path in sorted(folder.glob("*.jinja")):
            template = Template(path.read_text(encoding="utf-8"), path.name, None)
            every = rendered({"default": template}, SpecialTokens({}), renderer)
            if every["default"].healthy:
                facts = {"conversations": conversations(every)}
                found += [path] * any(check.findings(facts) for check in checks)
    return found


@pytest.mark.parametrize("folder", [OWN, CORPUS], ids=["own", "published"])
def test_every_template_is_mended_or_the_reason_said(
    folder: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not folder.is_dir():
        pytest.skip("the corpus is not here")
    counts: Counter[tuple[str, str]] = Counter()
    for path in _told(folder):
        model = write_overlay(tmp_path / path.stem, {"chat_template.jinja": path.read_text(encoding="utf-8")})
        proposal = proposed(model, unsafe=True, select=SLUGS)
        assert proposal.faults == [], path.name
        counts.update((fix.finding.slug, "mended") for fix in proposal.plan.fixes)
        counts.update((left.finding.slug, "left to the user") for left in proposal.plan.left_out)
        told = [f for f in proposal.before.findings if f.slug in SLUGS]
        assert len(told) == len(proposal.plan.fixes) + len(proposal.plan.left_out), path.name
    assert counts
    figures = ", ".join(f"{slug} {what}: {number}" for (slug, what), number in sorted(counts.items()))
    record_property("figure", f"templates of {folder.parent.name}/{folder.name}: {figures}")
