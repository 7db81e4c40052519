"""Results of relations as tables, plots and a page."""

import json
from collections.abc import Iterator, Sequence

from ptune_scale.files import write_json, write_text
from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.reader.prepare import HELD_OUT
from ptune_scale.lama.scores import WHOLE
from ptune_scale.report import figures
from ptune_scale.report.page import Page, write_page
from ptune_scale.report.table import Table, with_interval
from ptune_scale.tune.job import MethodResult
from ptune_scale.tune.report import INTERVALS, as_markdown, plots_of, prediction_lines
from ptune_scale.tune.scores import Results, gain_shown


def tables(results: Results) -> list[Table]:
    """P@1 in percent by relation, methods and controls side by side.

    With objects of any length a second table has the exact match of whole phrases.
    """
    found = [_table(results, "p_at_1", "facts", "")]
    if results["objects"] == "all":
        found.append(_table(results, WHOLE, "all_facts", "Exact match of whole phrases:"))
    return found


def _table(results: Results, metric: str, counted: str, title: str) -> Table:
    columns = {**results["methods"], **results["controls"]}
    gains = gain_shown(results["methods"]).get(metric)
    rows = []
    for name in (*next(iter(columns.values()))["relations"], "micro", "macro"):
        cells = {k: c["relations"].get(name) or c[name] for k, c in columns.items()}
        facts = next(iter(cells.values()))[counted]
        row = [name, str(facts)]
        row += [with_interval(cell[metric], cell["interval"][metric]) for cell in cells.values()]
        if gains:
            gain = gains["relations"].get(name) or gains.get(name)
            row.append(with_interval(gain["value"], gain["interval"], sign="+") if gain else "")
        rows.append(row)
    return Table(["relation", "facts", *columns, *(["gain"] if gains else [])], rows, title)


def notes(results: Results) -> list[str]:
    """What stands beside the tables: controls and what was left out."""
    among = results["candidates"]
    if among == "file":
        among = results["config"]["data"]["candidates"]
    lines = [f"P@1 in percent, {INTERVALS}; answers ranked among: {among}."]
    everything = {**results["methods"], **results["controls"]}
    for name, scores in everything.items():
        parts = [
            f"{kind} {_with_interval(v['micro'])}" for kind, v in scores["by_candidates"].items()
        ]
        unseen = scores["unseen_objects"]
        parts.append(
            f"objects never seen in training {_with_interval(unseen)} ({unseen['facts']} facts)"
        )
        lines.append(f"{name}: {scores['description']}. Micro P@1: {', '.join(parts)}.")
    if held := results["test_held_out_of_training"]:
        lines.append(f"{', '.join(held)}: {HELD_OUT}.")
    lines += [f"dropped: {n} x {why}" for why, n in results["dropped_facts"].items()]
    return lines + results["notes"]


def _with_interval(cell: Results) -> str:
    return with_interval(cell["p_at_1"], cell["interval"]["p_at_1"])


def prompts(results: Results) -> list[Table]:
    """The words that methods chose to ask, by relation."""
    chosen = {name: s["prompts"] for name, s in results["methods"].items() if "prompts" in s}
    return [
        Table(["relation", "prompt"], [[*each] for each in texts.items()], f"Prompts of {name}:")
        for name, texts in chosen.items()
    ]


def write(job: LamaJob, answered: Sequence[MethodResult], results: Results) -> None:
    """Write results.json, results.md, predictions.jsonl, report.html and plots.

    Raises:
        UserError: they cannot be written.
    """
    directory = job.output
    shown, said = tables(results), notes(results)
    write_json(directory / "results.json", results)
    write_text(directory / "results.md", as_markdown([*shown, *prompts(results)], said))
    lines = (json.dumps(line, ensure_ascii=False) for line in prediction_lines(job, answered))
    write_text(directory / "predictions.jsonl", "".join(f"{line}\n" for line in lines))
    title = f"P@1, {results['model']}, {results['candidates']}"
    page = Page(
        title,
        [*shown, *prompts(results)],
        said,
        [plot for plot in _plots(results, title) if plot],
        results["config"],
        results["versions"],
    )
    write_page(page, directory)


def _plots(results: Results, title: str) -> Iterator[figures.Plot | None]:
    methods = results["methods"]
    bars = {
        method: {
            relation: _score(cell)
            for relation, cell in {**scores["relations"], "micro": scores["micro"]}.items()
        }
        for method, scores in methods.items()
    }
    yield figures.scores(bars, "p_at_1", title)
    yield figures.seen_and_unseen(
        {
            method: {
                kind: _score(scores[f"{kind}_objects"])
                for kind in ("seen", "unseen")
                if scores[f"{kind}_objects"]["facts"]
            }
            for method, scores in methods.items()
        }
    )
    for name, scores in methods.items():
        of_relation = scores.get("gain", {}).get("p_at_1", {}).get("relations", {})
        yield from plots_of(name, {**scores, "gain": of_relation})


def _score(cell: Results) -> figures.Score:
    return cell["p_at_1"], cell["interval"]["p_at_1"]
