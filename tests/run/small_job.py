"""A job of its own on ranks, as short as can be, that ends in the way it is told to."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ptune_scale.errors import UserError
from ptune_scale.flags import flag
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.launch import relaunch
from ptune_scale.run.command import Program, run_command
from ptune_scale.run.config import JobConfig, ModelConfig, ParallelConfig, RunConfig
from ptune_scale.run.site import Site


@dataclass(frozen=True, kw_only=True)
class HowConfig:
    """the end"""

    end: Literal["well", "refused", "crash", "stopped", "never"] = flag("well", "how it ends")
    checked: Literal["good", "bad"] = flag("good", "whether that is all right")


@dataclass(frozen=True, kw_only=True)
class SmallConfig(JobConfig):
    how: HowConfig = HowConfig()
    model: ModelConfig = ModelConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()


@dataclass(frozen=True)
class Checked:
    config: SmallConfig
    degrees: Degrees


def check(config: SmallConfig) -> Checked:
    if config.how.checked == "bad":
        raise UserError("--checked bad: choose another")
    ranks = config.parallel.num_gpus or relaunch.world_size()
    return Checked(config, Degrees.resolve(ranks, tensor=config.parallel.tensor_parallel))


def run(checked: Checked, site: Site) -> None:
    world, end = site.world, checked.config.how.end
    site.stop.check()
    everyone = world.gather((world.rank, site.mesh.degrees.name))
    if end == "refused":
        raise UserError("not like that")
    if end == "crash":
        raise ValueError("a bug")
    if end == "stopped" and world.is_main:
        os.kill(os.getpid(), signal.SIGTERM)
    while end == "never":
        site.stop.check()
        time.sleep(0.05)
    site.stop.check()
    world.gather(None)
    result = {"ranks": everyone, "seen": sorted(path.name for path in site.output.iterdir())}
    world.on_main(lambda: (site.output / "results.json").write_text(json.dumps(result)))


def main(arguments: Sequence[str] | None = None) -> int:
    program = Program("small_job", "Ends as told.", "  %(prog)s", SmallConfig, check, run)
    return run_command(program, arguments)


if __name__ == "__main__":
    sys.exit(main())
