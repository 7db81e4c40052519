"""Encoders on every rank or on one each: the same training, less memory; any layout goes on."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ptune_scale.parallel import Degrees, EncoderPlacement, Mesh, World
from ptune_scale.prompt.encoder import count_parameters
from ptune_scale.train import checkpoint
from ptune_scale.tune import launcher
from tests.forked import Forked, fork_ranks, run_ranks
from tests.parallel import placement_worker

STEPS = 400
"""Of a job that is killed and stopped before it has made them."""


def placements(kind: str, degrees: Degrees, num_groups: int) -> list[EncoderPlacement]:
    """What each rank of a layout is told."""
    found = []
    for rank in range(degrees.world_size):
        mesh = Mesh(World(rank, degrees.world_size), degrees, *degrees.coordinates(rank), None)
        found.append(EncoderPlacement.build(kind, mesh, num_groups))
    return found


def test_owned_encoders_are_spread_evenly_over_the_first_stage() -> None:
    degrees = Degrees(data=2, pipeline=3, tensor=2)
    found = placements("owned", degrees, 41)
    first_stage = [rank for rank in range(12) if degrees.coordinates(rank)[1] == 0]
    assert sorted(len(placement.held) for placement in found) == [0] * 8 + [10, 10, 10, 11]
    assert all(bool(found[rank].held) == (rank in first_stage) for rank in range(12))
    assert sorted(group for placement in found for group in placement.held) == list(range(41))
    assert all(placement.spoken_for == placement.held for placement in found)
    assert not any(placement.main_speaks_for_all for placement in found)


def test_a_shared_encoder_is_owned_by_the_main_rank() -> None:
    found = placements("owned", Degrees(data=2, tensor=2), 1)
    assert [placement.held for placement in found] == [(0,), (), (), ()]
    assert all(placement.main_speaks_for_all for placement in found)


def test_replicated_encoders_are_on_the_whole_first_stage_and_the_main_rank_speaks() -> None:
    found = placements("replicated", Degrees(pipeline=2, tensor=2), 3)
    assert [placement.held for placement in found] == [(0, 1, 2), (0, 1, 2), (), ()]
    assert [placement.spoken_for for placement in found] == [(0, 1, 2), (), (), ()]
    assert all(placement.main_speaks_for_all for placement in found)


@pytest.fixture(scope="module")
def results(small_model, tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """Runs of ``placement_worker`` on two ranks and on one, by name."""
    model, output = small_model("gpt2"), tmp_path_factory.mktemp("placement")
    on_two = ["owned=owned-1", "replicated=replicated-1", "stages=replicated-2"]
    on_two += ["to_replicated=replicated-1-owned", "to_owned=owned-1-stages"]
    run_ranks(2, output, placement_worker.main, str(model), output, on_two)
    on_one = ["single=replicated-1", "to_single=replicated-1-owned"]
    placement_worker.main(str(model), output, on_one)
    return lambda name: torch.load(output / f"{name}.pt", weights_only=True)


def test_every_rank_knows_losses_scores_and_prompts(results) -> None:
    for name in ("owned", "replicated", "stages"):
        found = results(name)
        assert found["outcomes"][0] == found["outcomes"][1]
        assert torch.equal(found["prompts"][0], found["prompts"][1])
        assert len(found["outcomes"][0][0]) == 14
        assert bool((found["prompts"][0].abs().amax((1, 2)) > 0).all())


def test_owned_equals_replicated_to_the_bit(results) -> None:
    owned, replicated = results("owned"), results("replicated")
    assert owned["layout"] == replicated["layout"] == "dp2"
    assert owned["outcomes"] == replicated["outcomes"]
    assert torch.equal(owned["prompts"], replicated["prompts"])


def test_going_on_in_the_other_placement_equals_the_run_to_the_bit(results) -> None:
    owned, resumed = results("owned"), results("to_replicated")
    assert resumed["outcomes"] == owned["outcomes"]
    assert torch.equal(resumed["prompts"], owned["prompts"])


@pytest.mark.parametrize("name", ["owned", "stages", "to_single", "to_owned"])
def test_the_placement_does_not_change_the_result(results, name: str) -> None:
    single, other = results("single"), results(name)
    expected, found = (torch.tensor(run["outcomes"][0][0]) for run in (single, other))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other["prompts"][0], single["prompts"][0], atol=1e-5, rtol=0)


def test_each_rank_has_the_memory_of_what_it_holds(results) -> None:
    [whole] = results("single")["bytes"]
    # Parameters and the two moments of Adam; its step counters are a few bytes more.
    parameters = 4 * count_parameters("lstm", 32, 2)
    assert results("owned")["parameters"] == results("single")["parameters"] == parameters
    assert 1 <= whole / (3 * 4 * parameters) < 1.01
    assert results("replicated")["bytes"] == [whole, whole]
    assert results("owned")["bytes"] == [whole // 2, whole // 2]
    assert results("owned")["groups"] == [{0, 2}, {1, 3}]
    assert results("stages")["bytes"] == [whole, 0]
    assert results("stages")["groups"] == [{0, 1, 2, 3}, set()]


def wait_for(ranks: list[Forked], is_so: Callable[[], object]) -> None:
    """Until running ranks have done something."""
    deadline = time.monotonic() + 300
    while not is_so():
        assert all(rank.poll() is None for rank in ranks), [rank.said for rank in ranks]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def two_tasks(tmp_path: Path) -> list[str]:
    """Flags for two tasks of four facts each."""
    flags = []
    facts = {
        "capital": {"Norway": "Oslo", "Sweden": "Stockholm", "France": "Paris", "Italy": "Rome"},
        "continent": {"Norway": "Europe", "Spain": "Europe", "Italy": "Europe", "Dante": "Asia"},
    }
    for name, answers in facts.items():
        rows = [json.dumps({"country": key, "answer": answers[key]}) for key in answers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        (tmp_path / f"{name}.txt").write_text("\n".join(set(answers.values())))
        data = "\n".join(f'{part} = "{name}.jsonl"' for part in ("train", "dev", "test"))
        answer = f'[answer]\nfield = "answer"\ncandidates = "{name}.txt"\n'
        head = f'name = "{name}"\npattern = "[P]*2 {{country}} [P] [Y]"\n[data]\n'
        (tmp_path / f"{name}.toml").write_text(f"{head}{data}\n{answer}")
        flags += ["--task", str(tmp_path / f"{name}.toml")]
    return flags


def test_a_job_with_owned_encoders_is_killed_refused_stopped_and_goes_on(
    tiny_gpt2: Path, two_tasks: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = [
        *("--model", str(tiny_gpt2), *two_tasks, "--output_dir", str(out)),
        *("--dtype", "float32", "--method", "ptuning"),
        *("--batch_size", "8", "--max_steps", str(STEPS), "--zero_stage", "0"),
        *("--encoder_sharing", "none", "--encoder_placement", "owned", "--checkpoint_every", "50"),
        *("--patience", "0"),
    ]
    job = fork_ranks(2, tmp_path, launcher.main, flags)
    wait_for(job, lambda: list(out.glob("checkpoint/**/step-*")))
    job[1].send_signal(signal.SIGKILL)
    assert [rank.wait() for rank in job] == [1, -signal.SIGKILL]

    # 1. No rank has all encoders, so what remains is the last checkpoint that all ranks made.
    newest = checkpoint.find(out)
    step = checkpoint.read_meta(newest)["step"]
    assert 0 < step < STEPS and step % 50 == 0
    names = ["encoder-capital.pt", "encoder-continent.pt", "meta.json", "state.pt"]
    assert sorted(path.name for path in newest.iterdir()) == names

    # 2. Only rank 1 reads this file, and both ranks refuse to go on.
    damaged = tmp_path / "damaged"
    shutil.copytree(out, damaged)
    broken = damaged / newest.relative_to(out)
    (broken / "encoder-continent.pt").write_bytes(b"junk")
    flags = ["--resume_from", str(damaged), "--output_dir", str(tmp_path / "refused")]
    refused = fork_ranks(2, tmp_path, launcher.main, flags)
    assert [rank.wait() for rank in refused] == [2, 2]
    text = "".join(rank.said for rank in refused)
    assert f"ptune tune: error: checkpoint {broken}: encoder-continent.pt is missing" in text
    assert text.count("ptune tune: error:") == 1 and "UserError" not in text

    # 3. The intact one goes on; told to stop, all ranks save together.
    written = (newest / "meta.json").stat().st_mtime_ns
    before = set(out.glob("tensorboard/*"))
    flags = ["--resume_from", str(out), "--checkpoint_every", "0"]
    stopped = fork_ranks(2, tmp_path, launcher.main, flags)
    wait_for(stopped, lambda: set(out.glob("tensorboard/*")) != before)
    for rank in stopped:
        rank.send_signal(signal.SIGTERM)
    assert [rank.wait() for rank in stopped] == [128 + signal.SIGTERM] * 2
    text = "".join(rank.said for rank in stopped)
    assert text.count("stopped by SIGTERM") == 1, text[-3000:]
    newest = checkpoint.find(out)
    assert (newest / "meta.json").stat().st_mtime_ns > written
    assert sorted(path.name for path in newest.iterdir()) == names

    # 4. And to the end.
    run_ranks(2, tmp_path, launcher.main, ["--resume_from", str(out)])
    results = json.loads((out / "results.json").read_text())
    training = results["methods"]["ptuning"]["training"]
    assert training["steps"] == STEPS
    assert training["encoder_placement"] == "owned"
    one, other = training["encoder_bytes_per_rank"]
    assert one == other > 3 * 4 * training["trainable_parameters"] // 2
