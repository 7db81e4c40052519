"""What makes two runs the same: what is trained on and how, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.parallel import World
from ptune_scale.run.site import claimed
from ptune_scale.tune.check import check
from ptune_scale.tune.config import OwnConfig
from ptune_scale.tune.job import Job

Identity = Callable[..., dict[str, Any]]


@pytest.fixture
def identity(tiny_gpt2: Path, tmp_path: Path) -> Identity:
    """The identity of training on the tasks of some files."""

    def find(task: list[str], *more: Any, **flags: Any) -> dict[str, Any]:
        config = OwnConfig.from_flags(
            {"task": task[1::2], "model": str(tiny_gpt2), "dtype": "float32", **flags}
        )
        checked = check(config)
        with claimed(World(), checked.degrees, tmp_path / "out") as site:
            job = Job.start(checked.config, checked.tasks, checked.backbone, site)
            return job.identity("ptuning", job.asked(), *more)

    return find


def test_what_only_rounds_otherwise_makes_no_difference(own, identity: Identity) -> None:
    tasks = own("where", "choice")
    expected = identity(tasks)
    assert json.loads(json.dumps(expected)) == expected
    more = {"eval_batch_size": 3, "eval_batch_tokens": 99, "rows_per_forward": 2}
    assert identity(tasks, **more, checkpoint_every=3, method="ptuning") == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Oslo", "Stockholm"', '"Oslo", "Berlin"'),
        ("is [P]*2 in the", "is [P]*2 near the"),
        ("[P]*2", "[P]*3"),
        ('["accuracy", "mcc"]', '["mcc", "accuracy"]'),
        ("max_length = 24", "max_length = 20"),
        ('dev = "dev.jsonl"', 'dev = "train.jsonl"'),
        ('train = "train.jsonl"', 'train = "dev.jsonl"'),
    ],
)
def test_what_is_learned_from_makes_a_difference(
    old: str, new: str, changed, identity: Identity
) -> None:
    same = identity(changed("where", "[data]", "[data]"))
    assert identity(changed("where", "[data]", "[data]")) == same
    found = identity(changed("where", old, new))
    assert found["content"] != same["content"]
    named = {"patterns"} if "[P]" in old else set()
    assert {name for name in same if found[name] != same[name]} == {"content"} | named


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"seed": 35}, {"seed"}),
        ({"lr": 0.1, "schedule": "constant"}, {"lr", "schedule"}),
        ({"encoder": "none", "encoder_sharing": "none"}, {"encoder", "encoder_sharing"}),
        ({"dtype": "bfloat16"}, {"dtype"}),
        ({"backbone_dropout": "on"}, {"backbone_dropout"}),
    ],
)
def test_how_it_is_learned_makes_a_difference(
    flags: dict[str, Any], names: set[str], own, identity: Identity
) -> None:
    same, found = identity(own("where")), identity(own("where"), **flags)
    assert {name for name in same if found[name] != same[name]} == names


def test_other_tasks_beside_it_and_what_a_method_adds_make_a_difference(
    own, identity: Identity
) -> None:
    assert identity(own("where"))["tasks"] == ["where"]
    one, other = identity(own("where", "choice")), identity(own("choice", "where"))
    assert one["tasks"] != other["tasks"] and one["content"] != other["content"]
    assert identity(own("where"), "shots")["more"] != identity(own("where"))["more"]
