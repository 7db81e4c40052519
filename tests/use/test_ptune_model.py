"""A module for other people's loops has the launchers' losses, and only its prompts train."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from ptune_scale import PtuneModel, load_prompt
from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import single
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import collate
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

ANSWER = Ranked({"all": None}, one_token=True)
TASKS = {
    "behind": Wording(Pattern.parse("{a} is [P]*3 in [Y]"), ANSWER),
    "around": Wording(Pattern.parse("[P] {a} [P] [Y]"), ANSWER),
}
RECORDS = [
    Record(str(n), {"a": place}, answer)
    for n, (place, answer) in enumerate(
        [
            ("Norway", "Oslo"),
            ("the city of Rome", "Rome"),
            ("Spain", "Madrid"),
            ("Berlin", "Oslo"),
        ]
    )
]


def model_of(directory: Path, **settings: Any) -> PtuneModel:
    base = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return PtuneModel(base, tokenizer, settings.pop("tasks", TASKS), **settings)


def rows_of(model: PtuneModel) -> list[dict[str, Any]]:
    return [model.row(task, r, r.answer) for task in TASKS for r in RECORDS]


def by_launcher(directory: Path, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of the tasks, and dP, as the launchers compute them."""
    backbone = load_backbone(str(directory), dtype=torch.float32)
    examples = []
    for index, (name, wording) in enumerate(TASKS.items()):
        asked = AskedTask(Task(name, wording, Splits((), (), ())), backbone.tokens, index)
        questions = asked.questions(RECORDS, "train")
        examples += [row for question in questions for row in question.rows]
    return single(backbone.lm).loss_and_gradient(collate(examples), prompts.detach())


@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2"])
def test_the_loss_and_its_gradient_are_the_launchers(family: str, request) -> None:
    directory = request.getfixturevalue(family)
    model = model_of(directory)
    prompts = model.prompts
    losses, gradient = by_launcher(directory, prompts)
    batch = model.collate(rows_of(model))
    output = model(**batch)
    assert output.logits.shape[:2] == batch["input_ids"].shape
    # The library's mean is over the rows of both tasks, which are as many.
    assert_close(output.loss, losses.mean(), rtol=1e-5, atol=1e-6)
    parameters = list(model.bank.parameters())
    expected = torch.autograd.grad(prompts, parameters, gradient / len(TASKS))
    found = torch.autograd.grad(output.loss, parameters)
    for one, other in zip(found, expected, strict=True):
        # Entries that are small beside others carry the rounding of what was added up to them.
        assert_close(one, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


def test_texts_are_learned_to_their_end_as_the_launchers_do(tiny_llama: Path) -> None:
    wording = Wording(Pattern.parse("{a} is [P]*3 in [Y]"), Text(8))
    model = model_of(tiny_llama, tasks={"where": wording})
    backbone = load_backbone(str(tiny_llama), dtype=torch.float32)
    asked = AskedTask(Task("where", wording, Splits((), (), ())), backbone.tokens, 0)
    record = Record("0", {"a": "Norway"}, "the city of Oslo")
    [expected] = asked.questions([record], "train")[0].rows
    row = model.row("where", record, record.answer)
    learned = [label for label in row["labels"] if label != -100]
    assert learned == list(expected.answers)
    assert len(row["input_ids"]) == expected.num_tokens + 1


def test_a_tokenizer_that_knows_slots_is_refused(tiny_llama: Path) -> None:
    model = model_of(tiny_llama)
    with pytest.raises(UserError, match="knows slots already"):
        PtuneModel(model.model, model.tokenizer, TASKS)


def test_only_prompts_and_their_encoder_train_and_are_saved(tiny_llama: Path) -> None:
    model = model_of(tiny_llama).train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith("bank.") for name in trained)
    assert all(name.startswith("bank.") for name in model.state_dict())
    assert model.bank.training and not model.model.training
    other = model_of(tiny_llama, seed=1)
    assert not torch.equal(other.prompts, model.prompts)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.prompts, model.prompts)


def test_a_plain_loop_learns(tiny_llama: Path) -> None:
    model = model_of(tiny_llama)
    before = [p.clone() for p in model.model.parameters()]
    batch = model.collate(rows_of(model))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    assert all(map(torch.equal, before, model.model.parameters()))


def test_the_trainer_of_transformers_trains_saves_and_resumes(
    tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import Trainer, TrainingArguments

    def trainer(steps: int, out: str) -> Any:
        torch.manual_seed(0)
        model = model_of(tiny_llama)
        arguments = TrainingArguments(
            str(tmp_path / out),
            max_steps=steps,
            save_steps=3,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        return Trainer(model, arguments, train_dataset=rows_of(model), data_collator=model.collate)

    whole = trainer(6, "whole")
    whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    trainer(3, "half").train()
    again = trainer(6, "half")
    again.train(resume_from_checkpoint=True)
    assert_close(again.model.prompts, whole.model.prompts, rtol=1e-5, atol=1e-6)
    saved = sorted(path.name for path in (tmp_path / "whole" / "checkpoint-6").iterdir())
    size = (tmp_path / "whole" / "checkpoint-6" / "model.safetensors").stat().st_size
    bank = sum(p.nbytes for p in whole.model.bank.parameters())
    assert "model.safetensors" in saved and size < bank + 4096


def test_the_trainer_of_trl_has_the_losses_of_a_plain_loop(
    tiny_llama: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl", reason="pip install trl")
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = model_of(tiny_llama)
    model.tokenizer.pad_token = model.tokenizer.eos_token
    rows = rows_of(model)
    expected = float(model(**model.collate(rows)).loss)
    arguments = SFTConfig(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=len(rows),
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    trainer = SFTTrainer(
        model,
        arguments,
        train_dataset=Dataset.from_list(rows),
        data_collator=model.collate,
        processing_class=model.tokenizer,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(expected, rel=1e-3)
    assert losses[-1] < losses[0]


def test_what_is_saved_is_what_the_launchers_write(tiny_llama: Path, tmp_path: Path) -> None:
    tasks = {"where": Wording(Pattern.parse("{a} is [P]*3 in [Y]"), Text(5))}
    model = model_of(tiny_llama, tasks=tasks)
    model.save_pretrained(tmp_path)
    prompt = load_prompt(tmp_path)
    assert torch.equal(prompt.export.prompts, model.prompts.detach())
    assert "base_model: " in (tmp_path / "README.md").read_text()
    again = PtuneModel.from_pretrained(tmp_path)
    assert torch.equal(again.prompts, model.prompts)
    assert again.tasks["where"].wording == tasks["where"]
    again.save_pretrained(tmp_path / "again")
    assert torch.equal(load_prompt(tmp_path / "again").export.prompts, prompt.export.prompts)


def test_generate_writes_what_a_loaded_prompt_writes(tiny_llama: Path, tmp_path: Path) -> None:
    tasks = {"where": Wording(Pattern.parse("{a} is [P]*3 in [Y]"), Text(5))}
    model = model_of(tiny_llama, tasks=tasks)
    model.save_pretrained(tmp_path)
    prompt = load_prompt(tmp_path)
    for record in RECORDS:
        row = torch.tensor([model.row("where", record)["input_ids"]])
        written = model.generate(row, max_new_tokens=5, do_sample=False)
        text = model.tokenizer.decode(written[0, row.shape[1] :], skip_special_tokens=True)
        [expected] = prompt.generate([dict(record.fields)])
        assert text.strip() == expected
    # Rows of unlike lengths, padded on the left as the library wants them.
    ids = [model.row("where", record)["input_ids"] for record in RECORDS]
    longest = max(map(len, ids))
    batch = torch.tensor([[*[0] * (longest - len(row)), *row] for row in ids])
    mask = torch.tensor([[*[0] * (longest - len(row)), *[1] * len(row)] for row in ids])
    together = model.generate(batch, mask, max_new_tokens=5, do_sample=False)
    for row, one in zip(ids, together, strict=True):
        alone = model.generate(torch.tensor([row]), max_new_tokens=5, do_sample=False)
        assert one[longest:].tolist()[: alone.shape[1] - len(row)] == alone[0, len(row) :].tolist()


def test_a_masked_model_is_trained_at_its_masks(tiny_bert: Path) -> None:
    base = AutoModelForMaskedLM.from_pretrained(tiny_bert)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = PtuneModel(
        base, tokenizer, {"where": Wording(Pattern.parse("[P] {a} [P] [Y] ."), ANSWER)}
    )
    row = model.row("where", RECORDS[0], " Oslo")
    assert [label for label in row["labels"] if label != -100] == [
        tokenizer.convert_tokens_to_ids("Oslo")
    ]
    loss = model(**model.collate([row])).loss
    assert torch.isfinite(loss) and torch.autograd.grad(loss, model.bank.parameters())


def test_what_is_not_found_here_is_looked_for_in_the_model(tiny_llama: Path) -> None:
    model = model_of(tiny_llama)
    assert model.config is model.model.config and model.dtype == torch.float32
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = model.nothing


def test_a_pattern_without_slots_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="pattern of bare has no prompt slot"):
        model_of(tiny_llama, tasks={"bare": "{a} is in [Y]"})
