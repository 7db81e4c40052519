"""Run by torchrun: the same answers in several layouts, one after another.

Arguments: prompt, input, output directory.
"""

import sys
from pathlib import Path

from ptune_scale.parallel import Mesh, StopSignal, World
from ptune_scale.run.site import Site
from ptune_scale.tune import answer_file
from ptune_scale.tune.config import PredictConfig

LAYOUTS = {
    "zero3": {"zero_stage": 3},
    "stages": {"pipeline_parallel": 2},
    "tensor": {"tensor_parallel": 2},
}


def main() -> None:
    prompt, source, directory = sys.argv[1:]
    world = World.start()
    for name, layout in LAYOUTS.items():
        files = {"prompt": prompt, "input": source, "output": f"{directory}/{name}.jsonl"}
        how = {"dtype": "float32", "batch_size": 6, "chunk": 9, **layout}
        checked = answer_file.check(PredictConfig.from_flags({**files, **how}))
        mesh = Mesh.build(world, checked.degrees)
        assert mesh.degrees.name != "single"
        answer_file.run(checked, Site(mesh, StopSignal(world), Path()))
        world.gather(None)
    world.finish()


if __name__ == "__main__":
    main()
