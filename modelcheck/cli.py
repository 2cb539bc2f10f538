"""The command line. Nothing is imported at the top but click: `--version` must cost no more than Python itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelcheck import __version__
from modelcheck.errors import PackError, UsageError
from modelcheck.finding import Severity

if TYPE_CHECKING:
    from modelcheck.engine import Options
    from modelcheck.report import TargetReport

CLEAN, FOUND, USAGE, INTERNAL = range(4)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="modelcheck %(version)s")
def cli() -> None:
    """Find what will go wrong with a model before you spend GPU money on it."""


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is checked. Each defaults to None: the settings file decides what was not said."""
    for option in reversed(
        [
            click.option("--select", multiple=True, metavar="RULE", help="Run only these: a code, family or slug."),
            click.option("--ignore", multiple=True, metavar="RULE", help="Leave these out."),
            click.option("--extend-select", multiple=True, metavar="RULE", help="Run these too."),
            click.option(
                "--target", multiple=True, metavar="RUNTIME", help="What it must work with, e.g. 'vllm==0.33'."
            ),
            click.option(
                "--weights", type=click.Choice(["none", "embeddings", "full"]), help="How much tensor data to read."
            ),
            click.option("--pedantic/--no-pedantic", default=None, help="Show findings of low confidence too."),
            click.option("--strict/--no-strict", default=None, help="Fail when a rule could not be checked."),
            click.option(
                "--fail-on", type=click.Choice(["error", "warning", "info"]), help="Exit 1 from this severity on."
            ),
            click.option("--exit-zero", is_flag=True, help="Exit 0 whatever is found."),
        ]
    ):
        command = option(command)
    return command


def set_up_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What belongs to the targets and is checked with them."""
    for name, kind, text in (
        ("--lora", "FILE", "An adapter_config.json that training is about to use on the model."),
        ("--chat-template", "FILE", "A chat template in the place of the target's own."),
        ("--base", "DIR", "The base model of a target that is an adapter."),
    ):
        command = click.option(name, type=click.Path(), metavar=kind, help=text)(command)
    return command


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@set_up_options
@run_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def lint(
    targets: tuple[str, ...],
    form: str,
    exit_zero: bool,
    base: str | None,
    chat_template: str | None,
    lora: str | None,
    **said: Any,
) -> None:
    """Say what will go wrong with checkpoint folders in fine-tuning and serving, from their files alone.

    Exit code: 0 clean, 1 findings, 2 a target cannot be read or the call is wrong, 3 an error of ours.
    """
    from modelcheck.engine import lint_folders

    options, fail_on, strict = _settings(said)
    options = replace(options, base=base, chat_template=chat_template, lora=lora)
    reports = _print(lint_folders(targets, options), form)
    sys.exit(exit_code(reports, fail_on, strict=strict, exit_zero=exit_zero))


@cli.command()
@click.argument("rule", metavar="CODE|SLUG")
def explain(rule: str) -> None:
    """Teach what a rule is about: why it costs you, how it comes about, what to do."""
    from modelcheck import packs
    from modelcheck.explain import explain as manual

    click.echo(manual(packs.load().checks, rule))


@cli.command()
def rules() -> None:
    """List every rule."""
    from modelcheck import packs
    from modelcheck.explain import rules as lines

    click.echo(lines(packs.load().checks))


@cli.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False))
def demo(folder: str | None) -> None:
    """Write a small checkpoint with classic faults planted and lint it (in FOLDER, which is kept, if one is named)."""
    from modelcheck.demo import planted

    with planted(Path(folder) if folder else None) as place:
        click.echo(f"A small but complete checkpoint with classic faults is in {place}\n$ modelcheck lint {place}\n")
        from modelcheck.engine import Options, lint_folders

        _print(lint_folders([place], Options()), "text")
        click.echo("Next: `modelcheck explain double-bos`, or `modelcheck lint` on a checkpoint of your own.")


def _settings(said: dict[str, Any]) -> tuple[Options, Severity, bool]:
    """What the command line says over what the settings file says."""
    from modelcheck import settings
    from modelcheck.engine import Options

    found = settings.find(Path.cwd())
    value = {name: getattr(found, name) if said[name] in (None, ()) else said[name] for name in said}
    fail_on, strict = Severity[value.pop("fail_on").upper()], value.pop("strict")
    return Options(**value), fail_on, strict


def _print(reports: Iterable[TargetReport], form: str) -> list[TargetReport]:
    """Print each report as it is there (text), or all in one document (JSON)."""
    from modelcheck.output import json, text

    gathered = []
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for report in reports:
        gathered.append(report)
        if form == "text":
            click.echo(text.render(report, width))
    if form == "json":
        click.echo(json.render(gathered))
    return gathered


def exit_code(reports: Iterable[TargetReport], fail_on: Severity, *, strict: bool, exit_zero: bool) -> int:
    """The highest code of any target. `exit_zero` forgives findings, not what could not be read."""
    return max((_code(report, fail_on, strict, exit_zero) for report in reports), default=CLEAN)


def _code(report: TargetReport, fail_on: Severity, strict: bool, exit_zero: bool) -> int:
    if report.internal:
        return INTERNAL
    if report.error:
        return USAGE
    failed = any(f.severity >= fail_on for f in report.findings) or (strict and report.skipped)
    return FOUND if failed and not exit_zero else CLEAN


def main() -> None:
    """The entry point: one line for what the user can mend, whatever it is."""
    try:
        cli(standalone_mode=True)
    except (UsageError, PackError) as error:
        click.echo(f"modelcheck: {error}", err=True)
        sys.exit(USAGE)
