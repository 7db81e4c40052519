"""The SuperGLUE run as its users start it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.errors import UserError
from ptune_scale.superglue import find_task
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.launcher import main
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.report import Done
from tests.forked import run_ranks


@pytest.fixture
def refused(
    tiny_causal: Path, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command line that must end with one line and status 2; returns the line."""

    def run(*flags: str, data_dir: Path | str = tiny_tasks, model: Path = tiny_causal) -> str:
        out = tmp_path / "out"
        given = ["--data_dir", str(data_dir)] if data_dir else []
        status = main([*given, "--model", str(model), "--output_dir", str(out), *flags])
        (line,) = capsys.readouterr().err.splitlines()
        assert status == 2 and line.startswith("ptune superglue: error: ")
        assert not out.exists()
        return line

    return run


@pytest.fixture
def own_tasks(tiny_tasks: Path, tmp_path: Path) -> Path:
    """A copy of CB that may be spoilt."""
    directory = tmp_path / "own" / "CB"
    directory.mkdir(parents=True)
    for path in (tiny_tasks / "CB").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory.parent


def test_an_unknown_task_is_refused_with_the_known_ones(refused) -> None:
    assert "unknown task 'SST'; known: BoolQ, CB" in refused("--tasks", "CB,SST")


def test_an_unknown_method_is_refused_with_the_known_ones(refused) -> None:
    line = refused("--tasks", "CB", "--method", "manual,guess")
    assert "--method 'manual,guess'" in line and "incontext" in line


def test_an_unknown_label_is_named_by_file_and_line(refused, own_tasks) -> None:
    path = own_tasks / "CB" / "train.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {"label": "perhaps"})
    path.write_text("\n".join(lines))
    line = refused("--tasks", "CB", data_dir=own_tasks)
    assert f"{path}:3: bad record: unknown label 'perhaps'" in line


def test_a_missing_split_is_named_with_those_that_are_there(refused, own_tasks) -> None:
    (own_tasks / "CB" / "dev32.jsonl").unlink()
    line = refused("--tasks", "CB", data_dir=own_tasks)
    assert "dev32.jsonl does not exist" in line and "train, val" in line


def test_a_task_that_is_not_tuned_is_refused(refused) -> None:
    assert "ReCoRD is not tuned, as in the paper" in refused("--tasks", "ReCoRD")


def test_a_model_that_fits_no_wording_is_refused(refused, tiny_causal) -> None:
    line = refused("--tasks", "CB", "--spelling", "reference")
    assert "the reference spelling is for masked models only" in line


def test_records_of_which_none_can_be_learned_are_refused(refused, own_tasks, tiny_tasks) -> None:
    (own_tasks / "WSC").mkdir()
    for split in ("train", "dev32", "val"):
        lines = (tiny_tasks / "WSC" / f"{split}.jsonl").read_text().splitlines()
        kept = [line for line in lines if split != "train" or '"label": false' in line]
        (own_tasks / "WSC" / f"{split}.jsonl").write_text("\n".join(kept))
    line = refused("--tasks", "WSC", "--method", "ptuning", data_dir=own_tasks)
    assert "WSC: no training record has an answer to learn" in line


def test_data_must_be_named(refused) -> None:
    assert "--data_dir DIR is needed" in refused("--tasks", "CB", data_dir="")


def test_a_directory_without_a_run_cannot_be_resumed(tmp_path, capsys) -> None:
    assert main(["--resume_from", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--resume_from {tmp_path}: no run and no checkpoint there" in line


def test_where_there_is_no_val_the_dev_split_is_reported_and_said_so(
    job_of, own_tasks, tiny_causal
) -> None:
    (own_tasks / "CB" / "val.jsonl").unlink()
    job = job_of(tiny_causal, "CB", data_dir=str(own_tasks))
    (result, _) = METHODS["manual"].run(job)
    assert job.test_split == "dev32" and result.dev == result.test
    assert any("what is reported is dev32" in note for note in job.notes)


def test_two_replicas_give_what_one_process_does(job_of, tiny_masked, tiny_tasks, tmp_path) -> None:
    # COPA: its rows are pairs that stay together, and their numbers of masks differ.
    methods = ("majority", "manual", "ptuning", "ptuning_joint")
    flags = {"method": ",".join(methods), "dtype": "float32", "zero_stage": 0, "lr": 0.01}
    flags |= {"max_steps": 3, "eval_every": 1, "batch_size": 3}
    out = tmp_path / "two"
    typed = ["--model", str(tiny_masked), "--data_dir", str(tiny_tasks), "--tasks", "COPA"]
    # Each encoder on one of the ranks: what is learned is the same.
    typed += ["--output_dir", str(out), "--encoder_placement", "owned"]
    typed += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    run_ranks(2, tmp_path, main, typed)
    summary = json.loads((out / "results.json").read_text())
    assert summary["world_size"] == 2
    two = summary["tasks"]["COPA"]["methods"]
    assert (out / "results.md").is_file() and (out / "plots" / "tasks.png").is_file()
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["method"] for line in lines[::8]] == list(methods)
    assert set(lines[0]) == {"task", "id", "method", "answer", "expected", "correct", "score"}

    job = job_of(tiny_masked, "COPA", **flags)
    results = [result for name in methods for result in METHODS[name].run(job)]
    one = Done(job, results).summary["methods"]
    assert one.keys() == two.keys()
    for name in ("ptuning", "ptuning_joint"):
        trial, other = (each[name]["trials"][f"{name}-seed42"] for each in (one, two))
        assert other["losses"] == pytest.approx(trial["losses"], rel=1e-4)
        assert sum(other["scores"], []) == pytest.approx(sum(trial["scores"], []), rel=1e-3)
    for name, method in one.items():
        assert two[name]["test"] == pytest.approx(method["test"])
        assert two[name]["dev"] == pytest.approx(method["dev"])


def test_a_run_goes_on_in_its_own_directory_or_elsewhere(
    tiny_causal, tiny_tasks, tmp_path, capsys
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    flags = ["--data_dir", str(tiny_tasks), "--model", str(tiny_causal), "--tasks", "CB,COPA"]
    flags += ["--max_steps", "2", "--dtype", "float32"]
    assert main([*flags, "--output_dir", str(run)]) == 0

    def found(directory: Path) -> dict[str, Any]:
        return json.loads((directory / "results.json").read_text())["tasks"]

    first = found(run)
    assert main(["--resume_from", str(run)]) == 0
    assert found(run) == first  # times among them: all was read again
    assert main(["--resume_from", str(run), "--output_dir", str(other)]) == 0
    assert found(other) == first


def test_the_grid_of_the_backbone_is_not_that_of_prompts() -> None:
    config = SuperglueConfig.from_flags({"preset": "full"})
    own = find_task("RTE").few_shot
    assert [c.lr for c in config.grid(own, tunes_backbone=False)] == [1e-3, 1e-3]
    rates = {c.lr for c in config.grid(own, tunes_backbone=True)}
    assert rates == {1e-5, 2e-5, 3e-5}


def test_a_preset_takes_the_settings_of_the_task() -> None:
    config = SuperglueConfig.from_flags({"preset": "reference"})
    [settings] = config.grid(find_task("RTE").few_shot, tunes_backbone=False)
    assert (settings.max_steps, settings.lr) == (3500, 1e-4)
    assert settings.warmup == pytest.approx(150 / 3500)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lr": 0.0}, "--joint on with --lr 0"),
        ({"preset": "reference"}, "--joint on with --max_steps -1"),
        ({"method": "manual"}, "--joint on is for ptuning, which --method manual leaves out"),
    ],
)
def test_a_joint_job_has_settings_for_all_tasks(flags, message) -> None:
    with pytest.raises(UserError, match=message):
        SuperglueConfig.from_flags({"joint": "on", **flags})


def test_what_does_not_fit_a_layout_is_refused_before_anything_is_written(
    refused, monkeypatch
) -> None:
    line = refused("--tasks", "CB", "--deepspeed_config", "nofile")
    assert "DeepSpeed config nofile: No such file or directory" in line
    monkeypatch.setenv("WORLD_SIZE", "2")  # as a launcher that has started two ranks
    parted = ("--weight_bits", "8", "--zero_stage", "3")
    line = refused("--tasks", "CB", "--method", "manual", *parted)
    assert "--weight_bits 8 with layout zero3" in line


def test_encoders_are_not_placed_where_none_are_trained(refused) -> None:
    line = refused("--tasks", "CB", "--method", "manual,pet", "--encoder_placement", "owned")
    assert "--encoder_placement owned with --method manual,pet: it trains no prompts" in line


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "-1", "0", "x", "9" * 40])
@pytest.mark.parametrize("name", ["grid_lr", "grid_prompt_lr", "grid_batch_size"])
def test_a_grid_holds_positive_numbers(name: str, value: str, refused) -> None:
    assert f"--{name} must be positive numbers" in refused("--tasks", "CB", f"--{name}", value)
