"""What is missing to run a row here."""

from functools import cache
from pathlib import Path

from huggingface_hub import HfApi, get_session, is_offline_mode, try_to_load_from_cache

from ptune_scale.backbone import find_model
from ptune_scale.errors import UserError
from ptune_scale.paper.records import Row
from ptune_scale.paper.request import EMBEDDED, Request

_PATIENCE_SECONDS = 3.0
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def missing(row: Row, request: Request) -> str:
    """Why the row cannot be run, in words; "" where it can."""
    if row.not_here:
        return row.not_here
    return _missing_data(row, request) or _missing_weights(row, request)


def _missing_data(row: Row, request: Request) -> str:
    directory = request.data_of(row)
    if row.protocol.job == "lama":
        return _missing_facts(row, directory)
    flag = "--superglue_dir" if "val" in row.protocol.splits else "--fewglue_dir"
    if not directory:
        return f"no data: give {flag} DIR"
    tasks = [task for task in row.protocol.tasks if request.wants_task(task)]
    if not tasks:
        return f"--tasks leaves none of {', '.join(row.protocol.tasks)}"
    files = [Path(directory, t, f"{split}.jsonl") for t in tasks for split in row.protocol.splits]
    lacking = [str(path) for path in files if not path.is_file()]
    return f"no data: {lacking[0]} is not there" if lacking else ""


def _missing_facts(row: Row, directory: str) -> str:
    if not directory:
        return "no data: give --data_dir DIR"
    if directory == EMBEDDED:
        return "the built-in facts have no such relation" if row.manual_prompt else ""
    if not (Path(directory) / "relations.jsonl").is_file():
        return f"no data: {directory}/relations.jsonl is not there"
    return ""


def _missing_weights(row: Row, request: Request) -> str:
    model = request.model_of(row)
    if not model:
        return f"no weights: {row.model.missing}; give --weights {row.model.name}=DIR"
    return _not_found(model)


@cache
def _not_found(model: str) -> str:
    """Why a model cannot be loaded; looked for once, since some files are hashed for it."""
    try:
        source = find_model(model)
    except UserError as error:
        return f"no weights: {error}"
    return _not_on_the_hub(source.name) if source.path is None else ""


def _not_on_the_hub(name: str) -> str:
    """Why a Hugging Face id cannot be loaded; "" if it is cached or can be fetched."""
    if any(isinstance(try_to_load_from_cache(name, file), str) for file in _WEIGHT_FILES):
        return ""
    nearby = f"no weights: {name} is not cached here"
    if is_offline_mode():
        return f"{nearby}, and HF_HUB_OFFLINE is set"
    return "" if _hub_answers() else f"{nearby}, and the hub cannot be reached"


@cache
def _hub_answers() -> bool:
    """Whether there is a way to the hub at all; asked once."""
    try:
        get_session().head(HfApi().endpoint, timeout=_PATIENCE_SECONDS)
    except Exception:  # its client has been built on several libraries, each with errors of its own
        return False
    return True
