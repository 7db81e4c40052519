"""Where values come from: defaults, preset, the run resumed, a config file, what was typed."""

import json
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.lama.config import LamaConfig
from ptune_scale.run.settle import build_parser, settle
from ptune_scale.run.told import RUN_FILE
from tests.campaigns.damage import JSON_VALUES, TOML_VALUES


def parse(*arguments: str) -> LamaConfig:
    parser = build_parser("lama", "", "", LamaConfig)
    return settle(vars(parser.parse_args(arguments)), LamaConfig, "lama")


def config_file(directory: Path, text: str) -> str:
    path = directory / "run.toml"
    path.write_text(text, encoding="utf-8-sig")  # with a byte order mark, as some editors do
    return str(path)


def earlier_run(directory: Path, command: str = "lama", **flags: object) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RUN_FILE).write_text(json.dumps({"command": command, "flags": flags}))
    return directory


def test_nothing_typed_is_the_defaults():
    assert parse() == LamaConfig()


@pytest.mark.parametrize(
    "text",
    [
        'max_steps = 7\nrelations = "P17"\nlr = 1',
        '[train]\nmax_steps = 7\nlr = 1\n[data]\nrelations = "P17"\n',
        'relations = "P17"\n\n[train]\nmax_steps = 7\nlr = 1.0\n',
    ],
)
def test_a_file_takes_flags_flat_or_in_tables(tmp_path, text):
    config = parse("--config", config_file(tmp_path, text))
    assert (config.train.max_steps, config.train.lr) == (7, 1.0)
    assert config.data.relations == "P17"


def test_each_layer_goes_over_the_one_before(tmp_path):
    run = earlier_run(tmp_path / "out", preset="paper", lr=0.5, seed=5, patience=5)
    file = config_file(tmp_path, "seed = 6\npatience = 6\n")
    config = parse("--resume_from", str(run), "--config", file, "--patience", "7")
    assert config.train.schedule == "exponential"  # the preset's
    assert config.train.batch_size == 8  # the preset's
    assert config.train.lr == 0.5  # the run's, over the preset's
    assert config.train.seed == 6  # the file's, over the run's
    assert config.train.patience == 7  # what was typed
    assert config.train.eval_batch_size == LamaConfig().train.eval_batch_size


def test_a_file_may_name_the_preset_and_the_run_to_resume(tmp_path):
    run = earlier_run(tmp_path / "out", preset="paper", lr=0.5)
    config = parse("--config", config_file(tmp_path, f'resume_from = "{run}"'))
    assert config.train.lr == 0.5 and config.run.output_dir == str(run)
    assert parse("--config", config_file(tmp_path, 'preset = "paper"')).train.lr == 1e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_step = 7", ["unknown max_step", "did you mean max_steps?"]),
        ("[train]\nrelations = 'P17'", ["unknown relations", "in [train]"]),
        ("[trian]\nseed = 1", ["unknown table [trian]", "did you mean table [train]?"]),
        ("seed = 1\n[train]\nseed = 2", ["seed is given twice"]),
        ("seed = ", ["not TOML", "Invalid value"]),
        ("seed = 'x'", ["--seed must be a whole number"]),
        ("speed = true", ["--speed must be one of auto, plain", "True"]),
        ("lr = nan", ["--lr must be a positive number"]),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, text, words):
    with pytest.raises(UserError) as refused:
        parse("--config", config_file(tmp_path, text))
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"--config .*none.toml: No such file"):
        parse("--config", str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"seed = '\xff'")
    with pytest.raises(UserError, match="--config .*bytes.toml:1: not UTF-8"):
        parse("--config", str(tmp_path / "bytes.toml"))


def test_a_run_is_found_by_its_directory_and_by_what_lies_in_it(tmp_path):
    run = earlier_run(tmp_path / "out", seed=5)
    step = run / "CB" / "ptuning" / "checkpoint" / "step-000010"
    step.mkdir(parents=True)
    for place in (run, run / "CB", step):
        config = parse("--resume_from", str(place))
        assert config.train.seed == 5
        assert config.run.resume_from == str(place) and config.run.output_dir == str(run)


def test_a_run_can_go_on_elsewhere(tmp_path):
    run = earlier_run(tmp_path / "out")
    config = parse("--resume_from", str(run), "--output_dir", str(tmp_path / "other"))
    assert config.run.output_dir == str(tmp_path / "other")


def test_a_checkpoint_that_was_moved_brings_its_flags_along(tmp_path):
    identity = {"method": "ptuning"}
    meta = {"format": 3, "step": 1, "identity": identity, "flags": {"seed": 5}, "sha256": {}}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    config = parse("--resume_from", str(tmp_path))
    assert config.train.seed == 5 and config.run.output_dir == ""


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (dict(command="superglue"), ["a run of 'superglue', not of 'lama'"]),
        (dict(relations_per_batch=3), ["relations_per_batch", "no such flag", "start again"]),
    ],
)
def test_a_run_of_another_command_or_version_is_refused(tmp_path, told, words):
    with pytest.raises(UserError) as refused:
        parse("--resume_from", str(earlier_run(tmp_path / "out", **told)))
    assert all(word in str(refused.value) for word in words)


def test_a_damaged_run_file_is_refused(tmp_path):
    for text in ("{", "[]", '{"flags": {}}', '{"flags": 3, "command": "lama"}'):
        (tmp_path / RUN_FILE).write_text(text)
        with pytest.raises(UserError, match="run.json"):
            parse("--resume_from", str(tmp_path))


def test_no_run_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="--resume_from .*no checkpoint"):
        parse("--resume_from", str(tmp_path))


def test_another_preset_than_the_runs_is_refused(tmp_path):
    run = earlier_run(tmp_path / "out", preset="paper")
    assert parse("--resume_from", str(run), "--preset", "paper").train.batch_size == 8
    with pytest.raises(UserError, match="--preset reference .*run's preset is 'paper'"):
        parse("--resume_from", str(run), "--preset", "reference")


def test_the_number_of_ranks_is_that_of_the_launcher_and_not_of_the_run(tmp_path, monkeypatch):
    run = earlier_run(tmp_path / "out", num_gpus=3)
    assert parse("--resume_from", str(run)).parallel.num_gpus == 3
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert parse("--resume_from", str(run)).parallel.num_gpus == 0
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert parse("--resume_from", str(run)).parallel.num_gpus == 3


@pytest.mark.parametrize("value", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_any_run_file_is_taken_or_refused_in_one_line(value: str, tmp_path) -> None:
    run = earlier_run(tmp_path / "out")
    saved = json.loads((run / RUN_FILE).read_text())
    texts = [
        value,
        json.dumps({**saved, "flags": "HERE"}),
        json.dumps({**saved, "command": "HERE"}),
    ]
    for flag in ("seed", "lr", "dtype", "data_dir", "preset"):
        texts.append(json.dumps({**saved, "flags": {**saved["flags"], flag: "HERE"}}))
    for text in texts:
        (run / RUN_FILE).write_text(text.replace('"HERE"', value))
        try:
            parse("--resume_from", str(run))
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("target", ["nowhere", RUN_FILE])
def test_a_run_file_that_leads_nowhere_is_not_no_run(target: str, tmp_path) -> None:
    (tmp_path / RUN_FILE).symlink_to(target)
    with pytest.raises(UserError, match=f"{RUN_FILE} is a link that leads nowhere"):
        parse("--resume_from", str(tmp_path))


@pytest.mark.parametrize("value", TOML_VALUES, ids=range(len(TOML_VALUES)))
def test_any_value_in_a_file_is_taken_or_refused_in_one_line(value: str, tmp_path) -> None:
    path = tmp_path / "own.toml"
    for flag in ("seed", "lr", "dtype", "data_dir", "preset", "train", "[train]"):
        path.write_text(f"{flag} = {value}" if flag[0] != "[" else f"{flag}\nlr = {value}")
        try:
            parse("--config", str(path))
        except UserError as error:
            assert "\n" not in str(error)
