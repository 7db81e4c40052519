"""A small job of its own for launchers to start."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def job_flags(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of ``tune`` for two steps a second or more, on four facts."""
    capitals = {"Norway": "Oslo", "Sweden": "Stockholm", "France": "Paris", "Germany": "Berlin"}
    facts = tmp_path_factory.mktemp("facts") / "capitals.jsonl"
    lines = [json.dumps({"country": country, "city": city}) for country, city in capitals.items()]
    facts.write_text("\n".join(lines))
    (facts.parent / "cities.txt").write_text("\n".join(capitals.values()))
    return [
        *("--model", str(tiny_gpt2), "--dtype", "float32", "--method", "ptuning"),
        *("--train", str(facts), "--dev", str(facts), "--test", str(facts), "--answer", "city"),
        *("--pattern", "[P]*2 {country} [P] [Y]", "--candidates", str(facts.parent / "cities.txt")),
        *("--batch_size", "8", "--lr", "1e-2", "--warmup", "0"),
    ]
