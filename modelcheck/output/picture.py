"""Pictures of a page, laid out by pygal as SVG. Colours, lines and letters are those of house.css."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from pygal.graph.graph import Graph

# The viewBox of the templates.
WIDTH, HEIGHT = 480, 280
# The size of letters that room is left for; house.css has these on a phone, and smaller ones on a desk.
LETTERS = 17


def _pygal() -> ModuleType:
    import pygal

    # It leaves a finder of the old kind behind, of which Python 3.11 warns at every import that finds nothing.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    module: ModuleType = pygal
    return module


def short(number: float) -> str:
    """A whole number as it stands on an axis: 10k."""
    return str(_pygal().formatters.human_readable(number))


def chart(kind: str, **settings: Any) -> Graph:
    """An empty chart of this class of pygal's. The words around it are the page's: it has no title and no legend."""
    pygal = _pygal()
    style = pygal.style.Style(**{f"{text}_font_size": LETTERS for text in ("label", "major_label", "title", "value")})
    margins = {"margin": 2, "margin_left": 10, "margin_top": 24, "margin_right": 24, "spacing": 8}
    bare = {"style": style, "css": (), "js": (), "show_legend": False, "truncate_label": -1}
    return getattr(pygal, kind)(width=WIDTH, height=HEIGHT, **margins, **bare, **settings)


def drawn(chart: Graph, looks: Sequence[str] = ()) -> Markup:
    """The chart as the inside of an `<svg>`; `looks` are the CSS classes of its series.

    Left out are pygal's style, script and date, and what only that script would show.
    """
    from markupsafe import Markup
    from pygal.etree import etree

    etree.to_etree()  # the same text whether or not lxml is installed
    graph = chart.render_tree().find("g")
    for parent in list(graph.iter()):
        for child in [c for c in parent if c.tag == "desc" or "tooltip-overlay" in c.get("class", "")]:
            parent.remove(child)
    for i, look in enumerate(looks):
        for part in graph.iterfind(f".//g[@class='series serie-{i} color-{i}']"):
            part.set("class", look)
    return Markup(etree.tostring(graph, encoding="unicode"))  # noqa: S704 - of a tree, so all text in it is escaped
