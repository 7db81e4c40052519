"""Jobs against a server: what they learn and answer is that of a local run."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ptune_scale.tune import launcher
from ptune_scale.use.prompt import load_prompt
from tests.tune.conftest import SMALL, TASKS


@pytest.fixture(scope="module")
def out(own, tiny_gpt2: Path, serving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "out"
    flags = [*own(*TASKS), *SMALL, "--backbone", serving(tiny_gpt2), "--output_dir", str(out)]
    assert launcher.main(flags) == 0
    return out


def test_losses_scores_and_prompts_are_those_of_a_local_run(out: Path, finished: Path) -> None:
    found, expected = (json.loads((d / "results.json").read_text()) for d in (out, finished))
    one, other = (each["methods"]["ptuning"]["training"]["losses"] for each in (found, expected))
    assert one == pytest.approx(other, abs=1e-5)
    assert found["methods"].keys() == expected["methods"].keys()
    first, second = (
        load_file(d / "prompt" / "prompt.safetensors")["prompts"] for d in (out, finished)
    )
    assert float((first - second).abs().max()) < 1e-5


def test_a_run_against_a_server_goes_on_here(
    own, tiny_gpt2: Path, serving, out: Path, tmp_path: Path
) -> None:
    flags = ["--resume_from", str(out), "--backbone", "", "--model", str(tiny_gpt2)]
    assert launcher.main([*flags, "--output_dir", str(tmp_path / "here")]) == 0


def test_answers_to_a_file_are_those_of_a_local_run(
    predict, new: Path, serving, tiny_gpt2: Path, tmp_path: Path
) -> None:
    predict(new, "--dtype", "float32")
    expected = (tmp_path / "answers.jsonl").read_text().splitlines()
    (tmp_path / "answers.jsonl").unlink()
    predict(new, "--backbone", serving(tiny_gpt2))
    found = (tmp_path / "answers.jsonl").read_text().splitlines()
    for one, other in zip(map(json.loads, found), map(json.loads, expected), strict=True):
        assert one["answer"] == other["answer"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)


def test_python_asks_a_server_as_it_asks_a_model_here(
    prompt: Path, new: Path, serving, tiny_gpt2: Path
) -> None:
    records = [json.loads(line) for line in new.read_text().splitlines()]
    there = load_prompt(prompt, backbone=serving(tiny_gpt2))
    for one, other in zip(
        there.predict(records), load_prompt(prompt).predict(records), strict=True
    ):
        assert one.answer == other.answer
        assert one.score == pytest.approx(other.score, rel=1e-4)
    [found] = there.answer("Norway", "capital", k=1)
    [expected] = load_prompt(prompt).answer("Norway", "capital", k=1)
    assert found.text == expected.text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--tensor_parallel", "2"], "the layout is the servers'"),
        (["--backbone_token", "nowhere"], "nowhere"),
        (["--backbone_dropout", "on"], "servers run without dropout"),
    ],
)
def test_what_does_not_go_with_a_server_is_refused(
    flags: list[str], message: str, own, refused, serving, tiny_gpt2: Path
) -> None:
    refused([*own("where"), "--backbone", serving(tiny_gpt2), *flags], message)


def test_an_address_that_is_none_is_refused(own, refused) -> None:
    refused([*own("where"), "--backbone", "localhost:8000"], "give http://HOST:PORT")
