"""The command ``doctor``: what is installed, what will work here, and what to install for the rest.

No model is loaded. What can be chosen comes from the registries, so that a new record appears here
by itself.
"""

import contextlib
import importlib
import importlib.metadata
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ptune_scale import __version__
from ptune_scale.errors import UserError
from ptune_scale.parser import Parser, runnable
from ptune_scale.run.alone import run_alone
from ptune_scale.run.command import no_garbage_yet
from ptune_scale.trackers import TRACKERS

_DESCRIPTION = "Tell what is installed, and which devices, layouts, formats and trackers will work."
_TESTED = Path(__file__).resolve().parents[1] / "constraints.txt"
_METHODS = {
    "tune": "ptune_scale.tune.methods",
    "lama": "ptune_scale.lama.methods",
    "superglue": "ptune_scale.superglue.methods",
}
"""By command, where its METHODS are; they stand below this folder."""
_OF_DEVELOPERS = "test"


@dataclass(frozen=True)
class Package:
    """A package that is needed, always or for some use.

    Attributes:
        installed: its version; "" where it is missing.
        tested: the version that the project is tested with.
        use: the project's extra that has it; "" where everything needs it.
        fits: the version is one that the project takes.
    """

    name: str
    installed: str
    tested: str
    use: str = ""
    fits: bool = True

    @property
    def advice(self) -> str:
        """What to type to have it as it is tested; "" where nothing has to be done."""
        if self.installed and self.fits:
            return ""
        return (
            f"pip install {self.name}=={self.tested}" if self.tested else f"pip install {self.name}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 2 where a core package is missing or broken."""

    def look() -> int:
        Parser("doctor", _DESCRIPTION).parse_args(arguments)
        with no_garbage_yet():
            return _tell()

    return run_alone("doctor", look)


def packages_of(requirements: Sequence[str], tested: dict[str, str]) -> list[Package]:
    """What of some requirements is there, core packages first.

    Args:
        requirements: as the metadata of a package has them.
        tested: versions by name.
    """
    from packaging.requirements import Requirement

    found = []
    for requirement in map(Requirement, requirements):
        marker = str(requirement.marker or "")
        use = marker.split("extra ==")[-1].strip(" '\"") if "extra ==" in marker else ""
        if use == _OF_DEVELOPERS:
            continue
        version = ""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(requirement.name)
        fits = not version or requirement.specifier.contains(version, prereleases=True)
        name = requirement.name
        found.append(Package(name, version, tested.get(name.lower(), ""), use, fits))
    return sorted(found, key=lambda each: bool(each.use))


def tested_versions() -> dict[str, str]:
    """The versions that are tested together, by name."""
    lines = (line.partition("#")[0].strip() for line in _TESTED.read_text().splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower(): version for name, version in pairs}


def _tell() -> int:
    try:
        requirements = importlib.metadata.requires("ptune_scale") or []
    except importlib.metadata.PackageNotFoundError as error:
        advice = "pip install -c constraints.txt -e . in its checkout"
        raise UserError(f"ptune_scale itself is not installed: {advice}") from error
    found = packages_of(requirements, tested_versions())
    print(f"ptune_scale {__version__}, Python {platform.python_version()}, {platform.platform()}")
    wrong = [each for each in found if not each.use and each.advice]
    for title, some in (
        ("packages", [each for each in found if not each.use]),
        ("for some uses", [each for each in found if each.use]),
    ):
        print(f"\n{title:<28} {'installed':<14} tested")
        for each in some:
            name = f"{each.name} ({each.use})" if each.use not in ("", each.name) else each.name
            state = each.installed or "missing"
            print(f"  {name:<26} {state:<14} {each.tested:<12} {each.advice}".rstrip())
    print()
    broken = []
    for title, lines in (
        ("devices", _devices),
        ("layouts", _layouts),
        ("kernels", _kernels),
        ("export formats", _formats),
        ("trackers", _trackers),
        ("methods", _methods),
    ):
        try:
            told = list(lines())
        except Exception as error:  # of a library that cannot even be imported
            broken.append(title)
            told = [f"cannot be told: {type(error).__name__}: {' '.join(str(error).split())}"]
        for number, line in enumerate(told):
            print(f"{'' if number else title:<16} {line}")
    if wrong or broken:
        print(f"\nnot in order: {', '.join([*(each.name for each in wrong), *broken])}")
        return 2
    print(f"\nall that is needed is here; begin with: {runnable('tune')} --help")
    return 0


def _devices() -> Iterator[str]:
    import psutil
    import torch

    from ptune_scale.backbone.precision import fast_dtype

    memory = psutil.virtual_memory().total / 2**30
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    yield f"CPU: {cores} cores, {memory:.0f} GiB, {torch.get_num_threads()} threads"
    yield f"--dtype auto is {fast_dtype()}"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"GPU {index}: {device.name}, {device.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs alone"
        yield f"no GPU that PyTorch can use (it is built for {built})"


def _layouts() -> Iterator[str]:
    import torch
    from torch import distributed

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    there = distributed.is_available() and getattr(distributed, f"is_{backend}_available")()
    if not there:
        yield f"one process alone: PyTorch has no {backend}"
        return
    yield f"replicas and pipelines, over {backend}"
    for layout, package in (
        ("ZeRO-3", "deepspeed"),
        ("tensor parallelism of GPT-2 and Megatron", "fairscale"),
        ("tensor parallelism of Llama and others", "torch.distributed.tensor"),
    ):
        yield f"{layout}{'' if find_spec(package) else f': needs {package}'}"


def _kernels() -> Iterator[str]:
    import torch

    is_fused = torch.cuda.is_available() and find_spec("triton")
    why = "" if is_fused else " (the fused kernels need a GPU and Triton)"
    yield f"splice: {'Triton' if is_fused else 'plain PyTorch'}{why}"
    compiler = shutil.which("g++") or shutil.which("clang++")
    yield f"compiled layers: {compiler or 'need a C++ compiler, such as g++'}"
    bits = "yes" if find_spec("bitsandbytes") else "need bitsandbytes: pip install bitsandbytes"
    yield f"weights in 8 or 4 bits: {bits}"


def _formats() -> Iterator[str]:
    from ptune_scale.use.formats import FORMATS

    for name, chosen in FORMATS.items():
        missing = chosen.needs and find_spec(chosen.needs) is None
        yield f"{name}: needs {chosen.needs}: pip install {chosen.needs}" if missing else name


def _trackers() -> Iterator[str]:
    for name, tracker in TRACKERS.items():
        needs = f"needs {', '.join(tracker.missing)}: pip install {' '.join(tracker.missing)}"
        yield f"{name}: {needs if tracker.missing else tracker.help}"


def _methods() -> Iterator[str]:
    for command, module in _METHODS.items():
        yield f"{command}: {', '.join(importlib.import_module(module).METHODS)}"
