"""The command line. Nothing is imported at the top but click: `--version` must cost no more than Python itself."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from modelcheck import __version__
from modelcheck.errors import PackError, UsageError, raised_at
from modelcheck.gate_command import gate

# What people write who think in Python, in JSON.
PYTHON = {"True": "true", "False": "false", "None": "null"}
FORMS = ("text", "json", "sarif", "github", "html")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="modelcheck %(version)s")
def cli() -> None:
    """Find what will go wrong with a model before you spend GPU money on it."""


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
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
                "--weights",
                type=click.Choice(["none", "used", "embeddings", "full"]),
                help="How much tensor data to read. Default: embeddings; of a hub id, the rows in use and a sample.",
            ),
            click.option("--pedantic/--no-pedantic", default=None, help="Show findings of low confidence too."),
        ]
    ):
        command = option(command)
    return command


def verdict_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what makes a run fail."""
    for option in (
        click.option("--exit-zero", is_flag=True, help="Exit 0 whatever is found."),
        click.option(
            "--fail-on", type=click.Choice(["error", "warning", "info"]), help="Exit 1 from this severity on."
        ),
        click.option("--strict/--no-strict", default=None, help="Fail when a rule could not be checked."),
    ):
        command = option(command)
    return command


def set_up_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What belongs to the targets and is checked with them."""
    for name, kind, text in (
        ("--lora", "FILE", "An adapter_config.json that training is about to use on the model."),
        ("--chat-template", "FILE", "A chat template in the place of the target's own."),
        ("--base", "DIR|ID", "The base model of an adapter, or what a tuned model is compared with."),
    ):
        command = click.option(name, type=click.Path(), metavar=kind, help=text)(command)
    return command


def hub_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a target that is a hub id is asked for."""
    revision = click.option("--revision", metavar="REV", help="Branch, tag or commit of a hub id. Default: main.")
    offline = click.option("--offline", is_flag=True, help="Ask the hub for nothing: read what is cached.")
    return revision(offline(command))


def fleet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Many targets, and who lints them."""
    for option in reversed(
        [
            click.option("--targets-file", metavar="FILE", help="Lint these too: one a line, # comments, - for stdin."),
            click.option(
                "--jobs", type=click.IntRange(1), default=1, metavar="N", help="Lint so many targets at a time."
            ),
            click.option(
                "--backend", type=click.Choice(["processes", "dask"]), default="processes", help="Where --jobs are run."
            ),
            click.option("--scheduler", metavar="ADDRESS", help="The Dask cluster's, e.g. tcp://10.0.0.1:8786."),
        ]
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("targets", nargs=-1, metavar="TARGET...")
@set_up_options
@click.option("--data", metavar="FILE|DIR", help="Training rows, or a folder with train.jsonl and eval.jsonl.")
@click.option("--grammar", metavar="FILE", help="A grammar (root ::= ...) that the model's answers will be held to.")
@hub_options
@fleet_options
@rule_options
@verdict_options
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("--output-file", type=click.Path(dir_okay=False), metavar="FILE", help="Write the report there.")
@click.option("--statistics", is_flag=True, help="Show how often each rule fired instead of the findings.")
@click.option("--baseline", type=click.Path(dir_okay=False), metavar="FILE", help="Leave out what this file knows.")
@click.option("--write-baseline", is_flag=True, help="Write the findings to the --baseline file instead.")
def lint(
    targets: tuple[str, ...],
    form: str,
    output_file: str | None,
    baseline: str | None,
    base: str | None,
    chat_template: str | None,
    lora: str | None,
    data: str | None,
    grammar: str | None,
    revision: str | None,
    targets_file: str | None,
    jobs: int,
    backend: str,
    scheduler: str | None,
    *,
    offline: bool,
    statistics: bool,
    write_baseline: bool,
    exit_zero: bool,
    **said: Any,
) -> None:
    """Say what will go wrong with checkpoints in fine-tuning and serving, from their files alone.

    A target is a folder or the id of a model on the hub, of which only what is needed is read.

    Exit code: 0 clean, 1 findings, 2 a target cannot be read or the call is wrong, 3 an error of ours.
    """
    from modelcheck import baseline as known_findings
    from modelcheck.output import statistics as table
    from modelcheck.output import stream as out
    from modelcheck.run import INTERRUPTED, Run, refuse_empty, targets_of

    refuse_empty(baseline=baseline, output_file=output_file, targets_file=targets_file, scheduler=scheduler)
    if statistics and form != "text":
        raise UsageError(f"--statistics is a table of its own: it has no --format {form}")
    shown = None if statistics or write_baseline else form
    hub = {"revision": revision, "offline": offline, "announced": True}
    set_up = {"base": base, "chat_template": chat_template, "lora": lora, "data": data, "grammar": grammar}
    run = Run.of(Path.cwd(), said, **set_up, **hub, figures=shown == "html")
    if write_baseline and not baseline:
        raise UsageError("--write-baseline needs --baseline FILE, the file to write")
    if (backend == "dask") != (scheduler is not None):
        raise UsageError("--backend dask and --scheduler ADDRESS go together")
    named = targets_of(targets, targets_file)
    known = known_findings.read(Path(baseline)) if baseline and not write_baseline else Counter[str]()
    try:
        with out.opened(output_file) as stream:
            reports = out.write(run, run.lint(named, known, jobs, scheduler), shown, stream)
            if statistics:
                click.echo(table(reports), file=stream)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if baseline and write_baseline:
        click.echo(f"{known_findings.write(Path(baseline), reports)} findings are in {baseline}", err=True)
    sys.exit(run.exit_code(reports, exit_zero=exit_zero or write_baseline))


@cli.command()
@click.argument("checkpoint", metavar="TARGET")
@click.option("--write", is_flag=True, help="Change the folder itself; `modelcheck undo` takes it back.")
@click.option("--output", type=click.Path(), metavar="DIR", help="Write a mended copy there instead.")
@click.option("--unsafe", is_flag=True, help="Also mend what changes prompts, weights or where generation stops.")
@click.option(
    "--all-untrained", "options", flag_value="all-untrained", multiple=True, help="Also mend rows that nothing uses."
)
@click.option(
    "--split-fused", "options", flag_value="split-fused", multiple=True, help="Split fused projections, for LoRA."
)
@set_up_options
@hub_options
@rule_options
def fix(
    checkpoint: str,
    output: str | None,
    base: str | None,
    chat_template: str | None,
    lora: str | None,
    options: tuple[str, ...],
    revision: str | None,
    *,
    offline: bool,
    write: bool,
    unsafe: bool,
    **said: Any,
) -> None:
    """Show what can be mended in a checkpoint, as a diff; nothing is written without --write or --output.

    Exit code: 0 nothing to mend, or mended; 1 there is something to mend; 2 it cannot be read or written; 3 an error of
    ours.
    """
    from modelcheck.mending import proposal as mending
    from modelcheck.mending.plan import Allowed
    from modelcheck.output import diff
    from modelcheck.render.renderer import Renderer
    from modelcheck.run import CLEAN, FOUND, INTERNAL, INTERRUPTED, Run, refuse_empty

    if write and output:
        raise UsageError("--write changes the folder, --output writes a copy: name one of them")
    refuse_empty(output=output)
    hub = {"revision": revision, "offline": offline, "announced": True}
    run = Run.of(Path.cwd(), said, base=base, chat_template=chat_template, lora=lora, **hub)
    try:
        with Renderer() as renderer:
            proposal = mending.propose(checkpoint, run, Allowed(unsafe, frozenset(options)), renderer)
            click.echo(diff.render(proposal))
            faults = proposal.faults
            if not faults and proposal.plan.changes and write:
                faults = mending.write(proposal, run, renderer)
            elif not faults and output:
                faults = mending.write_copy(proposal, Path(output), run, renderer)
    except KeyboardInterrupt:
        click.echo(f"modelcheck: interrupted: {mending.after_interruption(checkpoint)}", err=True)
        sys.exit(INTERRUPTED)
    for fault in faults:
        click.echo(f"modelcheck: {fault}: nothing was changed; please report it", err=True)
    done = not faults and (write or output)
    click.echo(diff.outcome(proposal, output if done else None, written=bool(done)))
    to_do = bool(proposal.plan.changes) and not done
    sys.exit(INTERNAL if faults else FOUND if to_do else CLEAN)


@cli.command()
@click.argument("folder")
@click.option("--forget", is_flag=True, help="Delete what could be taken back instead; the folder stays as it is.")
def undo(folder: str, *, forget: bool) -> None:
    """Take back the last `modelcheck fix --write` of a folder, or what an interrupted one left."""
    from modelcheck import transaction

    if not folder or not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder")
    if forget:
        transaction.forget(Path(folder))
        click.echo(f"{folder}: nothing can be taken back any more")
        return
    restored = transaction.undo(Path(folder))
    click.echo(
        "\n".join([*restored, f"{folder}: as before the fix" if restored else f"{folder}: nothing to take back"])
    )


@cli.command()
@click.argument("target")
@click.option("--messages", type=click.Path(dir_okay=False), metavar="FILE", help="A conversation as JSON.")
@click.option("--add-generation-prompt", is_flag=True, help="End with the header of the next answer.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="Set a switch: enable_thinking=false.")
@click.option("--ids", is_flag=True, help="List the tokens with their ids.")
@hub_options
def render(
    target: str,
    messages: str | None,
    variables: tuple[str, ...],
    revision: str | None,
    *,
    add_generation_prompt: bool,
    ids: bool,
    offline: bool,
) -> None:
    """Show a conversation as the model gets it: roles, special tokens, and what would carry loss."""
    from modelcheck.output import conversation
    from modelcheck.show import conversation as rendered
    from modelcheck.show import read_messages
    from modelcheck.sources import Access

    given = {"add_generation_prompt": add_generation_prompt, **dict(map(_variable, variables))}
    chat, beside = read_messages(Path(messages) if messages else None)
    shown = rendered(target, chat, {**beside, **given}, Access(revision, offline, announced=True))
    click.echo(conversation.render(shown, ids=ids, colour=sys.stdout.isatty()))


def _variable(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is some, else as a text."""
    import json

    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise UsageError(f"--set {text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(PYTHON.get(value, value))
    except ValueError:
        return name, value


@cli.command("init-job")
@click.argument("checkpoint")
@click.argument("data")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="modelcheck.toml",
    show_default=True,
    metavar="FILE",
    help="Write it there; must not exist. - is standard output.",
)
def init_job(checkpoint: str, data: str, output: str) -> None:
    """Write a commented job file for fine-tuning CHECKPOINT on the rows of DATA (a file or folder)."""
    from modelcheck.finetune.init_job import init_job as text
    from modelcheck.finetune.init_job import write

    if output == "-":
        click.echo(text(checkpoint, data, Path()), nl=False)
    else:
        write(checkpoint, data, Path(output))
        click.echo(f"wrote {output}: read it, then run pytest --finetune-eval {Path(output).parent}", err=True)


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
@click.argument("repository", required=False)
@click.option("--clear", is_flag=True, help="Delete what is in it, or what is in it of REPOSITORY.")
def cache(repository: str | None, *, clear: bool) -> None:
    """Say where the pieces of files that were read on the hub are kept, of which models, and how large they are."""
    from modelcheck import cache as pieces
    from modelcheck.errors import did_you_mean
    from modelcheck.sources.transfer import megabytes

    kept = pieces.repositories()
    if repository and repository not in kept:
        raise UsageError(f"{repository}: nothing of it is in {pieces.place()}{did_you_mean(repository, kept)}")
    if clear:
        pieces.clear(repository)
        kept = pieces.repositories()
    number, size = pieces.size()
    click.echo(f"{pieces.place()}: {number} pieces, {megabytes(size)} of at most {megabytes(pieces.LIMIT)}")
    for name, bytes_of_it in kept.items():
        if clear or repository in (None, name):
            click.echo(f"{megabytes(bytes_of_it):>10}  {name}")


@cli.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False))
def demo(folder: str | None) -> None:
    """Plant classic faults in a small checkpoint, find and mend them, take it back (in FOLDER, which is then kept)."""
    from modelcheck.demo import acts, planted

    with planted(Path(folder) if folder else None) as place:
        click.echo(f"A small but complete checkpoint with classic faults is in {place}\n")
        for act in acts(place):
            click.echo(act)
    click.echo("Next: `modelcheck explain pad-is-eos`, or `modelcheck lint` on a checkpoint of your own.")


cli.add_command(gate)


def main() -> None:
    """The entry point: one line for what the user can mend, whatever it is."""
    try:
        cli(standalone_mode=True)
    except (UsageError, PackError) as error:
        click.echo(f"modelcheck: {error}", err=True)
        sys.exit(2)
    except Exception as bug:
        click.echo(
            f"modelcheck: internal error: {type(bug).__name__}: {bug}{raised_at(bug)}; please report it", err=True
        )
        sys.exit(3)
