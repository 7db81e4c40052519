"""Very many tasks in one run: each is trained as by itself, and none is in another's way."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.tune import launcher, listed, pool, run_list
from ptune_scale.tune.pool_report import Summary
from ptune_scale.use.export import PromptExport
from tests.forked import fork, run_ranks
from tests.serving import served
from tests.tune.conftest import SMALL, TASKS

NAMES = sorted(TASKS)
# Two train at a time, with three records of each in a step.
LISTED = (*SMALL, "--tasks_per_batch", "2")


def run_until_killed(flags: list[str]) -> int:
    """Two tasks have had their twelve steps, and two of theirs nine, when it is killed."""
    step, made = pool.step_together, []

    def killed(*given: Any) -> Any:
        made.append(given)
        if len(made) == 22:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*given)

    pool.step_together = killed
    return launcher.main(flags)


def _copied(source: Path, directory: Path) -> Path:
    """A directory of task files, one of them in another below it."""
    below = directory / "below"
    shutil.copytree(source, directory)
    below.mkdir()
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        shutil.copy(source / name, below)
    (directory / "city.toml").rename(below / "city.toml")
    return directory


@pytest.fixture
def many(own, tmp_path: Path) -> Path:
    return _copied(Path(own("where")[1]).parent, tmp_path / "many")


@pytest.fixture(scope="module")
def whole(own, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of a run that nobody disturbed."""
    place = tmp_path_factory.mktemp("whole")
    many = _copied(Path(own("where")[1]).parent, place / "many")
    flags = ["--task_list", str(many), *LISTED, "--model", str(tiny_gpt2)]
    assert launcher.main([*flags, "--output_dir", str(place / "out")]) == 0
    return place / "out"


@pytest.fixture
def tune(tiny_gpt2: Path, tmp_path: Path, capsys) -> Callable[..., str]:
    """Run ``tune`` on a directory of tasks; returns what it said."""

    def run(many: Path, *flags: str, status: int = 0) -> str:
        where = ["--model", str(tiny_gpt2), "--output_dir", str(tmp_path / "out")]
        found = launcher.main(["--task_list", str(many), *LISTED, *where, *flags])
        said = capsys.readouterr()
        assert found == status, said.err
        return said.out + said.err

    return run


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of P of each step that is made."""
    made: list[list[int]] = []
    step = pool.step_together

    def noted(function: Any, panels: Any, trainers: Any) -> Any:
        made.append(list(trainers))
        return step(function, panels, trainers)

    monkeypatch.setattr(pool, "step_together", noted)
    return made


@pytest.fixture
def before_steps(
    monkeypatch: pytest.MonkeyPatch, steps: list[list[int]]
) -> Callable[[Callable[[int], Any]], None]:
    """Let something be done before each step, which is told how many were made."""

    def let(action: Callable[[int], Any]) -> None:
        step = pool.step_together

        def acting(*given: Any) -> Any:
            action(len(steps))
            return step(*given)

        monkeypatch.setattr(pool, "step_together", acting)

    return let


def stop_at(number: int) -> Callable[[int], None]:
    """Stop this process, as by a signal, before a step."""

    def stop(made: int) -> None:
        if made == number:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def result_of(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / "tasks" / name / "results.json").read_text())


def assert_same(out: Path, whole: Path, names: list[str] = NAMES) -> None:
    """Losses, scores and prompts are those of another run."""
    for name in names:
        one, other = (result_of(each, name)["methods"] for each in (out, whole))
        for key in ("losses", "dev_curve", "stopped_early", "steps"):
            found, expected = (each["ptuning"]["training"][key] for each in (one, other))
            assert found == (pytest.approx(expected, abs=1e-5) if key == "losses" else expected)
        prompts = [PromptExport.load(d / "tasks" / name / "prompt").prompts for d in (out, whole)]
        torch.testing.assert_close(*prompts, atol=1e-5, rtol=1e-4)


def test_each_task_becomes_what_it_would_become_alone(
    whole: Path, own, tiny_gpt2: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        alone = tmp_path / "tasks" / name
        settings = [*SMALL, "--batch_size", "3", "--encoder_sharing", "none"]
        flags = [*own(name), *settings, "--model", str(tiny_gpt2), "--output_dir", str(alone)]
        assert launcher.main(flags) == 0
        found, expected = result_of(whole, name), result_of(tmp_path, name)
        for method in ("manual", "ptuning"):
            one, other = (each["methods"][method]["tasks"] for each in (found, expected))
            assert one[name].keys() == other[name].keys()
            for metric in found["methods"]["manual"]["tasks"][name].keys() - {"interval", "dev"}:
                assert one[name][metric] == pytest.approx(other[name][metric], rel=1e-4)
    assert_same(whole, tmp_path)


def test_a_run_leaves_a_directory_of_each_task_and_a_table_of_all(whole: Path) -> None:
    made = {path.name for path in whole.iterdir()} - {".lock"}
    assert made == {
        *("results.json", "results.md", "report.html", "run.json", "settings.json"),
        *("tasks", "tensorboard"),
    }
    assert sorted(path.name for path in (whole / "tasks").iterdir()) == NAMES
    for name in NAMES:
        # No encoder is kept of what is done.
        assert {path.name for path in (whole / "tasks" / name).iterdir()} == {
            *("prompt", "predictions.jsonl", "results.json")
        }
        # What is counted of the whole process is no task's own.
        assert "text_tokens" not in result_of(whole, name)["methods"]["ptuning"]["training"]
    results = json.loads((whole / "results.json").read_text())
    assert sorted(results["tasks"]) == NAMES and not results["failed"] and not results["refused"]
    assert results["tasks"]["city"]["file"] == "below/city.toml"
    assert results["tasks"]["where"]["methods"]["ptuning"]["records"] == 12
    assert "| where | 12 | accuracy |" in (whole / "results.md").read_text()


def test_a_run_that_was_killed_goes_on_from_each_tasks_own_checkpoint(
    many: Path, whole: Path, tiny_gpt2: Path, tmp_path: Path, tune, steps: list[list[int]]
) -> None:
    out = tmp_path / "out"
    flags = ["--task_list", str(many), *LISTED, "--model", str(tiny_gpt2)]
    job = fork(tmp_path / "log", run_until_killed, [*flags, "--output_dir", str(out)])
    assert job.wait() == -signal.SIGKILL, job.said
    before = {path: path.stat().st_mtime_ns for path in (out / "tasks").glob("*/results.json")}
    assert len(before) == 2
    # As a process leaves behind that is killed while it writes.
    remains = [(path.parent / ".results.json.x.partial") for path in before]
    remains.append(out / "tasks" / "where" / "prompt" / ".prompt.safetensors.x.partial")
    for scratch in remains:
        scratch.mkdir(parents=True)
    tune(many, "--resume_from", str(out))
    assert len(steps) == 12 - 8
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not any(scratch.exists() for scratch in remains)
    assert_same(out, whole)


def test_a_run_that_was_stopped_loses_no_step(
    many: Path, whole: Path, tmp_path: Path, tune, steps: list[list[int]], before_steps
) -> None:
    before_steps(stop_at(14))
    tune(many, status=128 + signal.SIGTERM)
    table = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(steps) == 15 and len(table["tasks"]) == 2
    tune(many, "--resume_from", str(tmp_path / "out"))
    assert len(steps) == 24
    assert_same(tmp_path / "out", whole)


def test_a_run_is_stopped_in_the_midst_of_files_that_cannot_be_used(
    many: Path, tmp_path: Path, tune, monkeypatch, steps: list[list[int]]
) -> None:
    for number in range(3):
        text = (many / "where.toml").read_text().replace("train.jsonl", "nowhere.jsonl")
        (many / f"{number}.toml").write_text(text)
    define = listed.define

    def stopped(definition: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return define(definition)

    monkeypatch.setattr(listed, "define", stopped)
    tune(many, status=128 + signal.SIGTERM)
    table = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(table["refused"]) == ["0.toml"] and not steps


def test_tasks_come_while_others_train(
    many: Path, whole: Path, tmp_path: Path, tune, monkeypatch, steps: list[list[int]], before_steps
) -> None:
    late = many / "where.toml"
    late.rename(tmp_path / "where.toml")
    before_steps(lambda made: late.exists() or (tmp_path / "where.toml").rename(late))
    monkeypatch.setattr(listed, "_SECONDS_BETWEEN_LOOKS", 0.0)
    tune(many)
    # It had come by the time that the first two ended.
    assert [len(each) for each in steps] == [2] * 24
    assert_same(tmp_path / "out", whole)


def test_a_task_that_stops_early_makes_room(
    many: Path, tmp_path: Path, tune, steps: list[list[int]]
) -> None:
    # Nothing is learned, so that no score beats the one before.
    tune(many, "--lr", "1e-9", "--selection", "reference_strict", "--patience", "1")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [task["stopped_early"] for task in results["tasks"].values()] == [True] * len(NAMES)
    assert all(task["steps"] <= 6 for task in results["tasks"].values())
    assert sum(map(len, steps)) == sum(task["steps"] for task in results["tasks"].values())


def test_a_file_that_is_mended_is_looked_at_again(
    many: Path, whole: Path, tmp_path: Path, tune, monkeypatch, before_steps
) -> None:
    (many / "where.toml").rename(tmp_path / "where.toml")
    (many / "where.toml").write_text("name = [")

    def mend(made: int) -> None:
        if made == 14:
            (tmp_path / "where.toml").replace(many / "where.toml")

    before_steps(mend)
    monkeypatch.setattr(listed, "_SECONDS_BETWEEN_LOOKS", 0.0)
    assert tune(many).count("skipped: ") == 1
    assert not json.loads((tmp_path / "out" / "results.json").read_text())["refused"]
    assert_same(tmp_path / "out", whole)


def test_a_file_that_cannot_be_used_and_is_gone_is_forgotten(
    many: Path, whole: Path, tmp_path: Path, tune, before_steps
) -> None:
    broken = many / "broken.toml"
    broken.write_text("name = [")
    before_steps(lambda made: broken.unlink(missing_ok=True) if made == 14 else None)
    said = tune(many)
    assert said.count("skipped: ") == 1 and "not everything is done" not in said
    assert_same(tmp_path / "out", whole)


def test_a_run_that_follows_waits_for_tasks_until_it_is_told_to_stop(
    many: Path, whole: Path, tmp_path: Path, tune, monkeypatch
) -> None:
    late = many / "where.toml"
    late.rename(tmp_path / "where.toml")

    summarize = run_list.write_summary

    def idle(*given: Any) -> Summary:
        if late.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            (tmp_path / "where.toml").rename(late)
        return summarize(*given)

    monkeypatch.setattr(run_list, "write_summary", idle)
    monkeypatch.setattr(pool, "_NAP", 0.01)
    said = tune(many, "--follow", "on", status=128 + signal.SIGTERM)
    assert "stopped by SIGTERM; go on with --resume_from" in said
    assert_same(tmp_path / "out", whole)


def test_a_file_that_cannot_be_used_is_named_and_the_others_go_on(
    many: Path, whole: Path, tmp_path: Path, tune
) -> None:
    (many / "broken.toml").write_text("name = [")
    text = (many / "where.toml").read_text()
    (many / "again.toml").write_text('name = "where"\n' + text)
    (many / "nodata.toml").write_text(text.replace("train.jsonl", "nowhere.jsonl"))
    (many / "noslot.toml").write_text(text.replace("[P]*2", "").replace("[P]", ""))
    (many / "dot.toml").write_text('name = ".."\n' + text)
    (many / os.fsdecode(b"latin\xff.toml")).write_text(text)
    said = tune(many, status=2)
    assert "not everything is done (files skipped: 6): " in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    reasons = {
        "broken.toml": "not TOML",
        "where.toml": "task name where is that of again.toml too",
        "nodata.toml": "nowhere.jsonl",
        "noslot.toml": "no prompt slot",
        "dot.toml": "begins with no dot",
        r"latin\xff.toml": "its name is not UTF-8",
    }
    assert results["refused"].keys() == reasons.keys()
    lines = said.splitlines()
    for file, reason in reasons.items():
        assert reason in results["refused"][file] and f"{many}/{file}" in results["refused"][file]
        assert sum(line == f"skipped: {results['refused'][file]}" for line in lines) == 1
    assert_same(tmp_path / "out", whole)


def test_a_task_that_diverges_is_done_with_and_said_to_have_failed(
    many: Path, tmp_path: Path, tune, steps: list[list[int]]
) -> None:
    said = tune(many, "--lr", "1e30", status=2)
    assert f"not everything is done (failed: {len(NAMES)}): " in said and "use one: " not in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert sorted(results["failed"]) == NAMES and not results["tasks"]
    for name, reason in results["failed"].items():
        assert "training has diverged" in reason and f"failed: {name}: {reason}" in said
        assert not (tmp_path / "out" / "tasks" / name / "prompt").exists()
    before = len(steps)
    tune(many, "--lr", "1e30", "--resume_from", str(tmp_path / "out"), status=2)
    assert len(steps) == before


def test_a_task_that_has_begun_is_gone_on_with_whoever_takes_its_name(
    many: Path, whole: Path, tmp_path: Path, tune, before_steps
) -> None:
    before_steps(stop_at(4))
    tune(many, status=128 + signal.SIGTERM)
    capital = (many / "capital.toml").read_text()
    (many / "before.toml").write_text(
        'name = "capital"\n' + capital.replace("{place} :", "{place} -")
    )
    said = tune(many, "--resume_from", str(tmp_path / "out"), status=2)
    assert f"skipped: {many}/before.toml: cannot resume from" in said
    assert_same(tmp_path / "out", whole)


def test_a_task_whose_checkpoint_is_damaged_goes_on_from_the_one_that_is_named(
    many: Path, whole: Path, tmp_path: Path, tune, before_steps
) -> None:
    before_steps(stop_at(9))
    tune(many, status=128 + signal.SIGTERM)
    kept = tmp_path / "out" / "tasks" / "city" / "checkpoint"
    (kept / "step-000010" / "state.pt").write_bytes(b"")
    said = tune(many, "--resume_from", str(tmp_path / "out"), status=2)
    assert f"there is --resume_from {kept}/step-000008; remove {kept.parent} to begin" in said
    assert not json.loads((tmp_path / "out" / "results.json").read_text())["tasks"].get("city")
    tune(many, "--resume_from", str(kept / "step-000008"))
    assert_same(tmp_path / "out", whole)


def test_other_settings_are_not_gone_on_with(many: Path, whole: Path, tmp_path: Path, tune) -> None:
    shutil.copytree(whole, tmp_path / "out")
    said = tune(many, "--resume_from", str(tmp_path / "out"), "--lr", "0.5", status=2)
    assert "lr was 0.01, is 0.5" in said


def test_a_server_makes_no_difference(
    many: Path, whole: Path, tmp_path: Path, tiny_gpt2: Path, tune, serving
) -> None:
    tune(many, "--backbone", serving(tiny_gpt2))
    assert_same(tmp_path / "out", whole)


def test_a_task_that_servers_do_not_take_fails_alone(
    many: Path, whole: Path, tmp_path: Path, tiny_gpt2: Path, tune
) -> None:
    rows = [
        {"place": f"{'near ' * 40}{number}", "label": label}
        for number in range(12)
        for label in ("north", "south")
    ]
    (many / "long.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    text = (many / "where.toml").read_text().replace("max_length = 24", "")
    for name in ("train", "dev", "test"):
        text = text.replace(f"{name}.jsonl", "long.jsonl")
    (many / "long.toml").write_text(text)
    with served(tiny_gpt2, pass_tokens=36) as url:
        tune(many, "--backbone", url, status=2)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["failed"].keys() == {"long"}
    assert "more than the 36 of a pass" in results["failed"]["long"]
    assert_same(tmp_path / "out", whole)


def test_ranks_that_share_encoders_out_make_no_difference(
    many: Path, whole: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    flags = ["--task_list", str(many), *LISTED, "--model", str(tiny_gpt2)]
    flags += ["--num_gpus", "2", "--zero_stage", "0", "--encoder_placement", "owned"]
    run_ranks(2, tmp_path, launcher.main, [*flags, "--output_dir", str(tmp_path / "out")])
    assert_same(tmp_path / "out", whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "where.toml"], "give --task FILE.toml, or .*, or --task_list DIRECTORY"),
        (["--pattern", "{a} [P] [Y]"], "--pattern with --task_list: write it into the task file"),
        (["--search", "trials.toml"], "--search with --task_list"),
        (["--method", "manual"], "--task_list is for ptuning, which --method manual leaves out"),
        (["--backbone_dropout", "on"], "--backbone_dropout on with --task_list"),
        (["--task_list", "nowhere"], "there is no such directory"),
        (["--task_list", "."], "it holds no task file"),
    ],
)
def test_what_cannot_be_done_with_a_list_is_refused(
    flags: list[str], message: str, many: Path, tmp_path: Path, refused, monkeypatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    refused(["--task_list", str(many), *flags], message)


def test_a_list_of_which_nothing_can_be_used_is_refused(tmp_path: Path, refused) -> None:
    (tmp_path / "one.toml").write_text('pattern = "{a} [P] [Y]"')
    refused(["--task_list", str(tmp_path)], "none of its 1 task files can be used; .* has no train")


def test_following_needs_a_list(own, refused) -> None:
    refused([*own("where"), "--follow", "on"], "--follow on is for --task_list")
