"""A run on facts: all methods, then their results."""

import sys
from collections.abc import Sequence

from ptune_scale.lama import report
from ptune_scale.lama.job import CheckedFacts, LamaJob
from ptune_scale.lama.methods import METHODS
from ptune_scale.lama.scores import build_results
from ptune_scale.parser import called, runnable
from ptune_scale.run.site import Site
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.report import as_markdown


def run(checked: CheckedFacts, site: Site) -> None:
    """Run all methods and write what they came to, on all ranks.

    Raises:
        UserError: the model, a checkpoint or the layout does not fit, or results cannot be written.
        Stopped: the job was asked to stop.
    """
    config, world = checked.config, site.world
    is_owned = config.parallel.encoder_placement == "owned" and world.size > 1
    if world.is_main and is_owned and config.prompt.encoder_sharing == "all":
        print(
            f"{called('lama')}: warning: --encoder_placement owned has one encoder to place; more "
            "than one rank holds encoders only with --encoder_sharing none",
            file=sys.stderr,
        )
    job = LamaJob.of(checked, site)
    if config.data.objects == "all" and not job.function.has_cache:
        job.note("phrases are written without a cache in this layout: as right, but slower")
    results = [result for name in checked.methods for result in METHODS[name].run(job)]
    site.world.on_main(lambda: _report(job, results))


def _report(job: LamaJob, results: Sequence[MethodResult]) -> None:
    summary = build_results(job, results)
    report.write(job, results, summary)
    print(f"\n{as_markdown(report.tables(summary), report.notes(summary))}")
    print(f"results in {job.output}/, all of them in report.html")
    if {"ptuning", "ptuning_search"} & set(job.config.methods):
        print(
            f"ask it: {runnable('lama')} --prompt {job.output}/prompt "
            f"--relation {job.tasks[0].name} --subject NAME"
        )
