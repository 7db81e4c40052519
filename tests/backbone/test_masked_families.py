"""Masked models of all families against their own plain forward pass, and refusals of the unfit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.splice import splice
from ptune_scale.task.example import collate
from ptune_scale.tune.launcher import main
from ptune_scale.use.prompt import load_prompt

BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 40}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
}
DEBERTA_V2 = {
    **DEBERTA,
    "position_buckets": 8,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
FAMILIES = {
    "albert": {**BERT, "embedding_size": 16},
    "bert": BERT,
    "big_bird": {**BERT, "attention_type": "original_full"},
    "camembert": BERT,
    "data2vec-text": BERT,
    "deberta": {**BERT, **DEBERTA},
    "deberta-v2": {**BERT, **DEBERTA_V2},
    "deberta-v2 with its own head": {**BERT, **DEBERTA_V2, "legacy": False},
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 48,
        "max_position_embeddings": 40,
    },
    "electra": {**BERT, "embedding_size": 16},
    "ernie": BERT,
    "esm": {**BERT, "mask_token_id": 4, "position_embedding_type": "rotary"},
    "eurobert": {**BERT, "num_key_value_heads": 2},
    "flaubert": XLM,
    "longformer": {**BERT, "attention_window": 4},
    "megatron-bert": BERT,
    "modernbert": {**BERT, "local_attention": 8, "global_attn_every_n_layers": 2},
    "mpnet": BERT,
    "nomic_bert": BERT,
    "rembert": {**BERT, "input_embedding_size": 16, "output_embedding_size": 24},
    "roberta": BERT,
    "roberta-prelayernorm": BERT,
    "roformer": {**BERT, "embedding_size": 16},
    "squeezebert": {**BERT, "embedding_size": 32},
    "xlm": XLM,
    "xlm-roberta": BERT,
}
EMBEDDING_SIZE = {"albert": 16, "electra": 16, "rembert": 16, "roformer": 16}
CAPITALS = {"Norway": "Oslo", "France": "Paris", "Germany": "Berlin", "Italy": "Rome"}
SUBJECTS = ("Norway", "the city near Oslo", "Italy of Europe")


def _save(family: str, settings: dict, tiny_bert: Path, directory: Path) -> torch.nn.Module:
    """Write a random model with the tokenizer of ``tiny_bert``; returns it as plain as it is."""
    for path in tiny_bert.glob("tokenizer*"):
        shutil.copy(path, directory)
    config = AutoConfig.for_model(
        family.split()[0],
        **settings,
        vocab_size=AutoConfig.from_pretrained(tiny_bert).vocab_size,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.tie_weights()
    model.save_pretrained(directory)
    return model.requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_those_of_the_plain_model_with_padding(
    family, tiny_bert, tmp_path, fill
):
    plain = _save(family, FAMILIES[family], tiny_bert, tmp_path)
    backbone = load_backbone(str(tmp_path))
    size = EMBEDDING_SIZE.get(family, 32)
    assert (backbone.kind, backbone.hidden_size) == ("masked", size)
    answer, pattern = backbone.tokens.word_token("Oslo"), "[P]*2 [X] is in [P] [Y] ."
    examples = [fill(pattern, name, backbone.tokens, answer) for name in SUBJECTS]
    batch = collate(examples)
    padded = batch.padded()
    assert padded.is_padded
    prompts = 0.3 * torch.randn(1, 3, size, generator=torch.Generator().manual_seed(0))
    prompts.requires_grad_()

    words = plain.get_input_embeddings()(padded.ids)
    logits = plain(
        inputs_embeds=splice(words, prompts, batch.tasks, padded.slots),
        attention_mask=(torch.arange(padded.ids.shape[1]) < padded.lengths[:, None]).long(),
    ).logits
    assert logits.shape[-1] == backbone.vocab_size
    at_targets = logits[torch.arange(len(batch)), batch.targets[:, 0]]
    expected = torch.nn.functional.cross_entropy(at_targets, batch.answers[:, 0])
    (expected_gradient,) = torch.autograd.grad(expected, prompts)

    ours = backbone.lm(batch, prompts)[:, 0]
    loss = torch.nn.functional.cross_entropy(ours, batch.answers[:, 0])
    (gradient,) = torch.autograd.grad(loss, prompts)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    assert expected_gradient.abs().max() > 0
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()

    with torch.no_grad():
        for row, example in enumerate(examples):
            alone = backbone.lm(collate([example]), prompts)[0, 0]
            torch.testing.assert_close(ours[row], alone, rtol=1e-4, atol=1e-4)


def test_a_prompt_for_factorised_embeddings_is_as_wide_as_they_are_from_training_to_answers(
    tiny_bert, tmp_path
):
    _save("albert", FAMILIES["albert"], tiny_bert, tmp_path)
    facts = [{"country": country, "city": city} for country, city in CAPITALS.items()]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, facts * 3)))
    (tmp_path / "cities.txt").write_text("\n".join(CAPITALS.values()))
    where, out = str(tmp_path / "facts.jsonl"), tmp_path / "out"
    status = main(
        [
            *("--model", str(tmp_path), "--dtype", "float32", "--output_dir", str(out)),
            *("--train", where, "--dev", where, "--test", where, "--method", "ptuning"),
            *("--pattern", "[P]*3 {country} [P]*3 [Y] .", "--answer", "city"),
            *("--candidates", str(tmp_path / "cities.txt"), "--max_steps", "60", "--lr", "3e-2"),
        ]
    )
    assert status == 0
    results = json.loads((out / "results.json").read_text())
    losses = results["methods"]["ptuning"]["training"]["losses"]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    prompt = load_prompt(out / "prompt")
    assert prompt.export.prompts.shape == (1, 6, 16)
    best, *_, last = prompt.answer("Norway")
    assert 1 > best.probability > last.probability > 0


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("electra", {**BERT, "architectures": ["ElectraForPreTraining"]}, "use the generator"),
        ("fnet", BERT, "padding changes"),
        ("yoso", BERT, "anew in each forward pass"),
        ("perceiver", {"architectures": ["PerceiverForMaskedLM"]}, "no embeddings"),
        ("mbart", {"architectures": ["MBartForMaskedLM"]}, "an encoder and a decoder"),
    ],
)
def test_what_cannot_be_prompted_is_refused_with_the_reason(
    family, settings, reason, tiny_bert, tmp_path
):
    for path in (*tiny_bert.glob("tokenizer*"), tiny_bert / "model.safetensors"):
        shutil.copy(path, tmp_path)
    AutoConfig.for_model(family, **settings).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=reason) as refusal:
        load_backbone(str(tmp_path))
    assert str(tmp_path) in str(refusal.value)


def test_a_checkpoint_with_debertas_later_head_says_how_to_name_it(tiny_bert, tmp_path):
    _save("deberta-v2", {**BERT, **DEBERTA_V2, "legacy": False}, tiny_bert, tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    del settings["legacy"]  # as in the published configurations
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match='no weight named.*"legacy": false'):
        load_backbone(str(tmp_path)).load_model()


@pytest.mark.parametrize("family", ["convbert", "fnet", "mobilebert"])
def test_padding_does_change_what_the_refused_families_compute(family, tiny_bert, tmp_path):
    plain = _save(family, {**BERT, "embedding_size": 32}, tiny_bert, tmp_path)
    ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.int64)
    padding = torch.zeros(1, 3, dtype=torch.int64)
    alone, padded = {"attention_mask": mask}, {"attention_mask": torch.cat([mask, padding], 1)}
    if family == "fnet":  # takes no mask at all
        alone, padded = {}, {}
    expected = plain(input_ids=ids, **alone).logits
    logits = plain(input_ids=torch.cat([ids, padding], 1), **padded).logits[:, :4]
    assert (logits - expected).abs().max() > 1e-2
