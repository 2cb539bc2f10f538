"""Rules about the chat template, rendered."""

from .generation_prompt_ignored import generation_prompt_ignored
from .no_terminator import no_terminator
from .prompt_not_prefix import prompt_not_prefix
from .system_dropped import system_dropped
from .template_broken import template_broken
from .template_date import template_date
from .template_date_frozen import template_date_frozen
from .template_drift import template_drift
from .terminator_not_eos import terminator_not_eos
from .two_template_sources import two_template_sources
from .unknown_literal import unknown_literal

__all__ = [
    "generation_prompt_ignored",
    "no_terminator",
    "prompt_not_prefix",
    "system_dropped",
    "template_broken",
    "template_date",
    "template_date_frozen",
    "template_drift",
    "terminator_not_eos",
    "two_template_sources",
    "unknown_literal",
]
