"""The comparison of a server with local jobs: it runs, and reads percentiles right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.serving.cli import main
from ptune_scale.experiments.serving.cores import Cores, bound
from ptune_scale.experiments.serving.latency import percentile


def test_a_server_is_measured_beside_local_jobs(
    gpt2_that_knows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = gpt2_that_knows("Europe Asia Africa Oslo Paris Rome Berlin Madrid")
    flags = ["--model", str(model), "--dtype", "float32", "--output_dir", str(tmp_path / "out")]
    flags += ["--relations", "continent", "--steps", "3", "--batch_size", "4"]
    assert main([*flags, "--self_check", "off"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    made = json.loads((tmp_path / "out" / "serving.json").read_text())
    assert [way["records"] for way in made["ways"]] == pytest.approx([12.0] * 3)
    assert [way["name"] for way in made["ways"]] == [
        "1 clients at once",
        "one local job of all tasks",
        "1 local jobs taking turns",
    ]
    assert all(f"| {way['name']} | " in said for way in made["ways"])
    assert made["latency"]["shared"] == 1.0
    assert 0 < made["latency"]["mean"] < made["latency"]["p99"] * 1.25


def test_jobs_of_few_and_of_more_tasks_are_measured(
    gpt2_that_knows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    languages = "German French Spanish Italian Polish Swedish Finnish Turkish"
    model = gpt2_that_knows(languages)
    flags = ["--model", str(model), "--dtype", "float32", "--output_dir", str(tmp_path / "out")]
    flags += ["--task_lists", "1,3", "--steps", "2", "--self_check", "off"]
    assert main(flags) == 0, capsys.readouterr().err
    made = json.loads((tmp_path / "out" / "lists.json").read_text())
    assert [each["tasks"] for each in made] == [1, 3]
    assert made[1]["records"] == 3 * made[0]["records"] > 0
    assert all(0 < each["training_cpu_seconds"] < each["cpu_seconds"] for each in made)
    assert main([*flags[:-4], "--task_lists", "few", "--output_dir", str(tmp_path / "no")]) == 2
    assert "--task_lists 'few'" in capsys.readouterr().err
    assert main([*flags, "--cores", "apart"]) == 2
    assert "--cores apart is for clients" in capsys.readouterr().err


def test_clients_can_be_kept_off_the_core_of_the_models() -> None:
    mine = os.sched_getaffinity(0)
    if len(mine) > 1:
        apart = Cores.apart()
        assert (len(apart.models), apart.models | apart.clients) == (1, mine)
        assert not apart.models & apart.clients
        for cores, expected in ((apart.models, apart.models), (frozenset(), mine)):
            with bound(cores):
                asked = "import os; print(*os.sched_getaffinity(0))"
                said = subprocess.check_output([sys.executable, "-c", asked], text=True)
            assert set(map(int, said.split())) == expected
        assert os.sched_getaffinity(0) == mine
    os.sched_setaffinity(0, {min(mine)})
    try:
        with pytest.raises(UserError, match="--cores apart needs two cores"):
            Cores.apart()
    finally:
        os.sched_setaffinity(0, mine)


def test_percentiles_lie_within_their_bucket() -> None:
    buckets = [(1.0, 50.0), (2.0, 90.0), (4.0, 100.0), (float("inf"), 100.0)]
    found = [percentile(buckets, share) for share in (0.25, 0.5, 0.7, 0.95, 1.0)]
    assert found == pytest.approx([0.5, 1.0, 1.5, 3.0, 4.0])
