"""The methods that train prompts: where they begin, what they keep, what they go on from."""

import json
import shutil

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.lama.methods import METHODS
from ptune_scale.lama.methods.wordings import anchored, from_manual, words_of_manual
from ptune_scale.parallel import single
from ptune_scale.run.told import RUN_FILE
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.train import checkpoint
from ptune_scale.tune.prompts import begin, build_trainer, start_from_words, train_prompts
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import load_prompt

TRAINED = ("ptuning", "ptuning_anchored", "ptuning_from_manual")
MODELS = ["tiny_gpt2", "tiny_bert"]
REFERENCE = {"preset": "reference", "template": "(2, 1, 1)", "max_steps": 0, "max_epochs": 3}


def worded(job, wording):  # noqa: ANN001, ANN201
    return job.asked([wording(task, job.config, job.backbone.tokens) for task in job.tasks])


@pytest.mark.parametrize("encoder", ["lstm", "none"])
@pytest.mark.parametrize("model", MODELS)
def test_prompts_that_begin_as_the_manual_one_answer_like_it(model, encoder, job_of, request):
    job = job_of(request.getfixturevalue(model), method="ptuning_from_manual", encoder=encoder)
    asked = worded(job, from_manual)
    dot = int(model == "tiny_bert")
    assert [task.num_slots for task in asked] == [4 + dot, 3 + dot]
    start = start_from_words(
        [words_of_manual(task, job.backbone.tokens)[1] for task in job.tasks], job
    )
    trainer = build_trainer(job, asked, job.config.train, start, job.problem(asked))
    with torch.no_grad():
        prompts = trainer.encoders.encode([0, 1])
    found = job.answers(asked, prompts, "test")
    manual = METHODS["manual"].run(job)[0].predictions
    for name, predictions in found.items():
        assert [p.ranks for p in predictions] == [p.ranks for p in manual[name]]


@pytest.mark.parametrize("model", MODELS)
def test_anchors_are_the_manual_prompt_behind_slots(model, job_of, request):
    job = job_of(request.getfixturevalue(model), method="ptuning_anchored")
    texts = [task.wording.pattern.text for task in worded(job, anchored)]
    assert texts == ["[P]*2 the capital of [X] is [Y] .", "[P]*2 [X] is located in [Y] ."]


def test_each_method_keeps_its_own_prompts_and_goes_on_from_its_own_checkpoint(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method=",".join(TRAINED))
    results = [result for name in TRAINED for result in METHODS[name].run(job)]
    assert [result.name for result in results] == list(TRAINED) == list(job.training)
    for name in TRAINED:
        directory = job.output if name == "ptuning" else job.output / name
        export = PromptExport.load(directory / "prompt")
        asked = worded(job, METHODS[name].worded)
        assert [t.wording.pattern for t in export.tasks] == [t.wording.pattern for t in asked]
        assert export.prompts.shape[:2] == (2, max(task.num_slots for task in asked))
        assert checkpoint.method_of(checkpoint.find_all(job.output)[name]) == name

    again = job_of(tiny_gpt2, method=",".join(TRAINED), resume_from=str(job.output))
    assert set(again.resume_from) == set(TRAINED)
    for name, before in zip(TRAINED, results, strict=True):
        assert METHODS[name].run(again)[0].predictions == before.predictions
        assert again.training[name]["throughput"] == job.training[name]["throughput"]


def test_a_default_number_of_steps_is_that_of_the_run_that_is_gone_on_with(
    job_of, tiny_gpt2, tmp_path
):
    begun = job_of(tiny_gpt2, max_steps=3, checkpoint_every=1)
    train_prompts(begun, "ptuning", begun.asked(), directory=tmp_path / "begun")
    path = checkpoint.find(tmp_path / "begun")
    job = job_of(tiny_gpt2, max_steps=-1, checkpoint_every=1)
    anew = begin(job, "ptuning", job.asked(), directory=tmp_path / "anew")
    assert anew.identity["max_steps"] == 480
    on = begin(job, "ptuning", job.asked(), directory=tmp_path / "on", resumed_from=path)
    assert on.identity["max_steps"] == 3 and on.trainer.step == checkpoint.read_meta(path)["step"]


def test_a_checkpoint_beside_others_is_refused_under_other_flags(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, method="ptuning_anchored")
    METHODS["ptuning_anchored"].run(job)
    one = checkpoint.find(job.output)
    assert checkpoint.run_directory(one) == job.output.resolve()
    other = job_of(tiny_gpt2, method="ptuning_anchored", resume_from=str(one), lr=2e-2)
    with pytest.raises(UserError, match="lr was 0.01, is 0.02"):
        METHODS["ptuning_anchored"].run(other)


def test_a_run_that_went_on_with_other_methods_goes_on_with_them(
    tiny_gpt2, tiny_facts, tmp_path, main
):
    out = tmp_path / "out"
    flags = ["--model", str(tiny_gpt2), "--data_dir", str(tiny_facts), "--dtype", "float32"]
    flags += ["--candidates", "full_vocab", "--dev_facts", "1", "--max_steps", "2"]
    assert main(*flags, "--method", "ptuning", "--output_dir", str(out)) == 0
    assert main("--resume_from", str(out), "--method", "ptuning_anchored") == 0
    assert json.loads((out / RUN_FILE).read_text())["flags"]["method"] == "ptuning_anchored"


@pytest.mark.parametrize(
    ("model", "objects"), [("tiny_gpt2", "single"), ("tiny_gpt2", "all"), ("tiny_bert", "single")]
)
def test_an_exported_prompt_answers_as_it_was_tested(model, objects, job_of, request):
    job = job_of(request.getfixturevalue(model), objects=objects, method="ptuning")
    [result] = METHODS["ptuning"].run(job)
    prompt = load_prompt(job.output / "prompt")
    for task in job.tasks:
        records = [{"sub_label": record.fields["subject"]} for record in task.splits.test]
        found = prompt.predict(records, task.label)
        assert [each.answer for each in found] == [
            each.answer for each in result.predictions[task.name]
        ]
    kinds = {type(task.wording.answer) for task in prompt.export.tasks}
    assert kinds == {Text if objects == "all" else Ranked}
    assert all(phrase.text for phrase in prompt.answer("Norway", "capital"))


def test_the_reference_spelling_is_for_ptuning_and_used_as_it_is_scored(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **REFERENCE, method="ptuning,ptuning_anchored")
    [result] = METHODS["ptuning"].run(job)
    assert result.description == "tuned prompt in the reference layout, [P]*2 [X] [P]*1 [Y]"
    assert [task.num_slots for task in worded(job, anchored)] == [4, 4]
    for task in PromptExport.load(job.output / "prompt").tasks:
        assert type(task.wording.answer) is Ranked
        assert task.wording.pattern.text == "[P]*2 [X] [P]*1 [Y]"


def test_the_reference_trains_one_position_and_scores_another(job_of, tiny_gpt2):
    job = job_of(tiny_gpt2, **REFERENCE)
    asked = job.asked()
    trainer = build_trainer(job, asked, job.config.train, None, job.problem(asked))
    [(batch, objective)] = trainer.problem.batches(asked[0].learn)
    with torch.no_grad():
        prompts = trainer.encoders.encode([0, 1])
    rows = [_logits(job, row, prompts) for row in batch.examples]
    labels = [row.answers[0] for row in batch.examples]
    expected = [-row[-2].log_softmax(-1)[label] for row, label in zip(rows, labels, strict=True)]
    job.backbone.lm.dropout = False
    found = single(job.backbone.lm).loss_and_gradient(batch, prompts, objective)[0][0]
    torch.testing.assert_close(found, torch.stack(expected).mean(), atol=1e-5, rtol=1e-5)
    read = job.answers(asked, prompts, "train", part=lambda task: task.learn)["P36"]
    for prediction, row, label in zip(read, rows, labels, strict=True):
        assert prediction.ranks["full_vocab"] == 1 + int((row[-1] > row[-1][label]).sum())


def _logits(job, row, prompts):  # noqa: ANN001, ANN202
    embedded = job.backbone.embeddings.of(list(row.ids))
    for place, slot in enumerate(row.slots):
        if slot >= 0:
            embedded[place] = prompts[row.task, slot]
    with torch.no_grad():
        return job.backbone.load_model()(inputs_embeds=embedded[None]).logits[0]


@pytest.mark.parametrize("model", MODELS)
def test_a_frozen_backbone_has_dropout_in_training_only(model, job_of, request):
    job = job_of(request.getfixturevalue(model), **REFERENCE)
    asked = job.asked()
    [(batch, _)] = job.problem(asked).batches(asked[0].learn)
    prompts = torch.randn(2, asked[0].num_slots, job.backbone.hidden_size)
    losses = [float(job.function.loss_and_gradient(batch, prompts)[0][0]) for _ in range(2)]
    assert losses[0] != losses[1]
    first, second = (job.function.log_probabilities(batch, prompts) for _ in range(2))
    assert torch.equal(first, second)
    assert not any(p.requires_grad for p in job.backbone.lm.parameters())


def test_what_is_searched_for_is_a_wording_of_each_relation(
    job_of, tiny_facts, tiny_gpt2, tmp_path
) -> None:
    facts = tmp_path / "facts"
    shutil.copytree(tiny_facts, facts)
    for path in (facts / "train").iterdir():
        known = [json.loads(line) for line in path.read_text().splitlines()]
        more = [
            fact | {"sub_label": f"{word} {fact['sub_label']}"}
            for fact in known
            for word in ("a", "city", "near", "born", "in")
        ]
        path.write_text("\n".join(map(json.dumps, [*known, *more])))
    trials = tmp_path / "trials.toml"
    trials.write_text('[trials.shown]\nwording = "demonstrated"\n[trials.short]\nslots = 1\n')
    flags = {"method": "ptuning", "search": str(trials), "demonstrations": 2}
    job = job_of(tiny_gpt2, **flags, data_dir=str(facts))
    assert job.config.methods == ("ptuning_search",)
    [found] = METHODS["ptuning_search"].run(job)
    assert set(found.predictions) == {"P36", "P30"}
    export = PromptExport.load(job.output / "prompt")
    assert [task.name for task in export.tasks] == ["P36", "P30"]
    assert [t.wording.pattern.text for t in export.tasks] == list(found.wordings.values())
    won = job.training["ptuning_search"]["search"]
    assert sum(trial["won"] for trial in won["trials"].values()) == 2
    trials.write_text('[trials.shown]\nwording = "mined"\n')
    with pytest.raises(UserError, match="wording 'mined': choose from plain, demonstrated"):
        job_of(tiny_gpt2, **flags, data_dir=str(facts))
