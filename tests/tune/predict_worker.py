"""Run on ranks: the same answers in several layouts, one after another."""

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


def main(prompt: Path, source: Path, directory: Path) -> None:
    """Answers go to files in ``directory``, by layout."""
    world = World.start()
    for name, layout in LAYOUTS.items():
        files = {"prompt": prompt, "input": source, "output": directory / f"{name}.jsonl"}
        files = {flag: str(path) for flag, path in files.items()}
        how = {"dtype": "float32", "batch_size": 6, "chunk": 9, **layout}
        checked = answer_file.check(PredictConfig.from_flags({**files, **how}))
        mesh = Mesh.build(world, checked.degrees)
        assert mesh.degrees.name != "single"
        answer_file.run(checked, Site(mesh, StopSignal(world), Path()))
        world.gather(None)
    world.finish()
