"""``toymill check``: what a study is, and what it will take, before it is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from toymill.cli.console import amount, at_work, console, cores_here, duration, table, warn
from toymill.cli.engine import ready
from toymill.cli.studies import checked
from toymill.config.designed import designed, planned
from toymill.config.inspection import Facts, facts_of, specification_of
from toymill.config.model import ModelConfig, WorkspaceConfig, is_file
from toymill.config.scan import grid_of
from toymill.config.sections import SECTIONS, needs
from toymill.config.signals import remarks_on_signals, samples_in_words, scaled_samples
from toymill.config.study import Study, values_tested
from toymill.study.expected import AuditRate, Expected, expected
from toymill.study.ownership import Directory, check_results, running

MOST = 40
"""Truth points that are shown."""


def show_check(path: Path, *, pilot: bool) -> None:
    """Check a study and print what it is; with a pilot also what it will take.

    Raises:
        ToymillError: a study that cannot be run.
    """
    with at_work() as say:
        say("Reading the study and its model")
        stated = checked(path)
    study = planned(stated)
    folder = Path(f"results/{study.study}")
    check_results(Directory(study, folder))
    out = console()
    asked = [name for name in SECTIONS if getattr(stated, name)]
    about = f", which asks for {', '.join(asked)}" if asked else ""
    out.print(f"study {study.study}{about}: its results are to be in {folder}", style="bold", markup=False)
    writing = running(folder)
    if writing:
        out.print(f"It is running, as process {writing.pid} on {writing.host}: toymill watch {folder}", markup=False)
    inputs = [item for model in stated.models.values() for item in model.inputs]
    fetched = all(map(is_file, inputs)) and not (stated.scan and stated.scan.missing)
    if not fetched:
        out.print("The model is downloaded when the study runs: it cannot be checked before.", markup=False)
        show_ensembles(out, study, "")
        return
    facts = facts_of(stated.model)
    show_model(out, stated.model, facts)
    warned = warn(out, remarks_on_signals(stated))
    takes: Expected | None = None
    remarks: list[str] = []
    if pilot and stated.kind == "toys":
        with at_work() as say:
            study, takes, remarks = piloted(stated, facts, say)
    show_ensembles(out, study, str(facts.poi))
    if stated.scan:
        toys = stated.scan.toys + stated.scan.signal_toys
        out.print(f"scan: {len(grid_of(stated.scan).points)} signals, each fitted to {toys:,} toys", markup=False)
    if takes:
        show_expected(out, stated, takes)
    for line in remarks:
        out.print(f"Look at: {line}", markup=False)
    found = "No mistake found, but see the warning above" if warned else "No mistake found"
    following = f"toymill watch {folder}" if writing else f"toymill run {path}"
    out.print(f"{found}. Next: {following}", style="bold", markup=False)


def piloted(stated: Study, facts: Facts, say: Callable[[str], None]) -> tuple[Study, Expected, list[str]]:
    """A study with the truth points that its sections choose, what it will take, and what its first toys show.

    Args:
        stated: the study.
        facts: what is known of its model.
        say: is told what is being done.
    """
    say("Loading JAX, and making the model")
    ready()
    from toymill.study.audit import audit_rate
    from toymill.study.design import design_study
    from toymill.study.model import checked_model
    from toymill.study.negative_yields import foreseen_negative_yields
    from toymill.study.pilot import plan_study, scan_rate, seconds_of_programs

    model = checked_model(stated)
    start = time.process_time()  # as a job has it
    before = []
    study = stated
    if needs(stated):
        say("Choosing the truth points")
        study = designed(stated, design_study(stated))
        before.append(time.process_time())
    say("Compiling the fits (a minute, of a new model), and fitting some toys of each truth point")
    begin = time.process_time()
    plan = plan_study(study, start_seconds=start)
    if stated.shard == "auto" and study.ensembles:
        before.append(start + time.process_time() - begin - plan.compile_seconds)
    say("Fitting some toys with iminuit")
    audit = audit_rate(study, model) if study.fit.audit else AuditRate(0.0, 0.0)
    if study.ensembles:
        say("Timing the start of a job")
        plan = plan.model_copy(update={"start_seconds": start + seconds_of_programs(study, model)})
    say("Fitting some toys of the first signal" if study.scan else "")
    rate = scan_rate(study) if study.scan else None
    parameters, data = len(facts.parameters), len(model.data_names)
    poi = str(facts.poi)
    takes = expected(study, plan, poi, parameters, data, audit=audit, rate=rate, before=before, start=start)
    say("Looking at the yields of some toys")
    return study, takes, foreseen_negative_yields(study, model)


def show_model(out: Console, model: ModelConfig, facts: Facts) -> None:
    """Print what is known of the model; of a workspace also which samples are its signal."""
    parameters = facts.parameters
    i = parameters.index(str(facts.poi))
    low, high = parameters.bounds[i]
    out.print(f"model: {len(parameters)} parameters; data {', '.join(facts.main)}", markup=False)
    out.print(
        f"parameter of interest: {facts.poi}, {parameters.init[i]:g} at first, within [{low:g}, {high:g}]; "
        f"{'with' if facts.observed else 'no'} observed data",
        markup=False,
    )
    if isinstance(model, WorkspaceConfig):
        for line in samples_in_words(model, str(facts.poi), scaled_samples(model, specification_of(model))):
            out.print(line, markup=False)


def show_ensembles(out: Console, study: Study, poi: str) -> None:
    """Print the truth points; of those that sections choose only the toys, before they are chosen."""
    if not study.ensembles:
        return
    rows = []
    for name, item in list(study.ensembles.items())[:MOST]:
        known = poi in item.truth
        truth = f"{item.truth[poi]:.4g}" if known else "chosen later"
        tests = ", ".join(f"{value:.4g}" for value in values_tested(item, poi)) if known else ""
        rows.append((name, truth, tests if len(tests) < 60 else f"{len(item.tests)} values", f"{item.toys:,}"))
    out.print(table("Truth points", ("ensemble", f"true {poi}", "tested", "toys"), rows, left=1))
    if len(study.ensembles) > MOST:
        out.print(f"{len(study.ensembles) - MOST} more truth points", markup=False)


def show_expected(out: Console, stated: Study, takes: Expected) -> None:
    """Print what a study will take."""
    told = [
        f"{kind} {duration(part.core_seconds)} ({part.jobs} job{'s' * (part.jobs > 1)})"
        for kind, part in takes.parts.items()
        if part.jobs
    ]
    cores = cores_here()
    out.print(
        f"expected time of one core: {', '.join(told)}; about {duration(takes.seconds(cores))} in all on the {cores} cores "
        f"here, if they are free; {amount(takes.bytes)} of disk for the fits",
        markup=False,
    )
    for line in not_estimated(stated):
        out.print(line, markup=False)


def not_estimated(stated: Study) -> Iterator[str]:
    """What else a study does, of which the time is not known before."""
    asked = {"limit": stated.limit, "interval": stated.interval, "region": stated.region}
    for key, section in asked.items():
        if section and section.precision:
            yield f"{key}.precision: the toys that its rounds add are not among what was estimated"
    if stated.goodness_of_fit and stated.goodness_of_fit.channel_compatibility:
        yield "goodness_of_fit.channel_compatibility: its fits are not among what was estimated"
    if stated.scan and stated.scan.tilted_toys:
        yield "scan.tilted_toys: thrown where the largest excess asks for them, they are not among what was estimated"
