"""Which names of a template count as switches that a caller may set."""

from __future__ import annotations

from typing import Any

import pytest

from modelcheck.render.renderer import Renderer

BOTH = [True, False]


def switches(template: str) -> dict[str, Any]:
    with Renderer() as renderer:
        found: dict[str, Any] = renderer.run_plan(template + "{{ messages[0].content }}", {"bos_token": "<s>"})[
            "switches"
        ]
    return found


@pytest.mark.parametrize(
    "template",
    [
        "{% if think %}x{% endif %}",
        "{% if think is defined and not think %}x{% endif %}",
        "{{ 'x' if think is true else 'y' }}",
        "{% set think = think | default(true) %}{{ think }}",
        "{% set t = think if think is defined else false %}{{ t }}",
        "{% if not think is defined %}{% set think = false %}{% endif %}{% if think %}x{% endif %}",
        "{% macro m() %}{% if think %}x{% endif %}{% endmacro %}{{ m() }}",
    ],
)
def test_a_name_that_decides_by_itself(template: str) -> None:
    assert switches(template) == {"think": BOTH}


def test_a_name_compared_with_literals_is_given_them() -> None:
    assert switches("{% if effort == 'high' or effort in ['low', 'off'] %}x{% endif %}") == {
        "effort": ["high", "low", "off"]
    }


@pytest.mark.parametrize(
    "template",
    [
        "{{ name }}",
        "{% if name is defined %}{{ name }}{% endif %}",
        "{% if tools and documents and add_generation_prompt and not bos_token and pad_token %}x{% endif %}",
        "{% for m in messages %}{% if m.role %}{% set name = m.role %}{% endif %}{% if name %}x{% endif %}{% endfor %}",
        "{% if continue_final_message %}x{% endif %}",
    ],
)
def test_a_name_that_is_printed_or_set_by_others_is_none(template: str) -> None:
    assert switches(template) == {}
