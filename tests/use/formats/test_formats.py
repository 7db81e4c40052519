"""What other software reads gives the answers of the prompt that was written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.errors import UserError
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Wording
from ptune_scale.use.export import ExportedTask, PromptExport
from ptune_scale.use.formats import FORMATS
from ptune_scale.use.formats.compare import compare
from ptune_scale.use.prompt import TunedPrompt
from tests.use.conftest import WORDINGS

PLACES = ["Norway", "the city of Rome", "Spain.", "a city near Berlin"]
FRONT = {
    "in front": Wording(Pattern.parse("The [P]*2 place [P] {a} is [Y]"), WORDINGS["words"].answer),
    "text": Wording(Pattern.parse("[P]*3 {a...} [Y]"), WORDINGS["text"].answer),
}
ANYWHERE = {name: WORDINGS[name] for name in ("words", "choices", "ranked", "text", "phrases")}
ONE_REQUEST = {"P17/ranked": WORDINGS["ranked"], "P17_ranked": WORDINGS["ranked"]}
ONE_REQUEST |= {"a text": WORDINGS["text"]}

Make = Callable[[dict[str, Wording]], TunedPrompt]


def prompt_of(model: Path, wordings: dict[str, Wording]) -> TunedPrompt:
    backbone: Backbone = load_backbone(str(model), dtype=torch.float32, shortcuts=PLAIN)
    slots = max(each.pattern.num_slots for each in wordings.values())
    shape = (len(wordings), slots, backbone.hidden_size)
    vectors = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    tasks = tuple(ExportedTask(name, name, wording, 40) for name, wording in wordings.items())
    return TunedPrompt(PromptExport(vectors, tasks, str(model), backbone.fingerprint), backbone)


def records_of(prompt: TunedPrompt) -> dict[int, list[Record]]:
    fields = {"b": "Madrid of Spain", "c": "Paris"}
    return {
        row: [Record(place, {"a": place, **fields}, None) for place in PLACES]
        for row in range(len(prompt.tasks))
    }


def written(name: str, prompt: TunedPrompt, directory: Path) -> Path:
    """A prompt in a format, all of its tasks."""
    rows = range(len(prompt.tasks))
    FORMATS[name].check(prompt, rows)
    directory.mkdir()
    FORMATS[name].write(prompt, rows, records_of(prompt), directory)
    return directory


@pytest.mark.parametrize(
    ("name", "wordings"),
    [
        ("peft", FRONT),
        ("tokens", ANYWHERE),
        ("model", ANYWHERE),
        ("vllm", ONE_REQUEST),
        ("tokens", ONE_REQUEST),
        ("npy", ONE_REQUEST),
        ("npy", ANYWHERE),
    ],
)
@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gemma", "tiny_gpt2"])
def test_what_is_read_back_answers_the_same(
    name: str, wordings: dict[str, Wording], family: str, tmp_path: Path, request
) -> None:
    if FORMATS[name].needs:
        pytest.importorskip(FORMATS[name].needs)
    prompt = prompt_of(request.getfixturevalue(family), wordings)
    directory = written(name, prompt, tmp_path / "out")
    logits = FORMATS[name].load(prompt, range(len(prompt.tasks)), directory)
    found = compare(prompt, records_of(prompt), logits)
    assert found.same == found.records == len(PLACES) * len(wordings)
    assert found.difference < 1e-4
    # Answers that do not depend on the prompt would be the same, whatever was written.
    prompt.export.prompts.neg_()
    assert compare(prompt, records_of(prompt), logits).difference > 1e-4


@pytest.mark.parametrize("name", ["tokens", "model"])
def test_masked_models_get_tokens_too(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    answer = Ranked({"all": None}, one_token=True)
    prompt = prompt_of(tiny_bert, {"where": Wording(Pattern.parse("[P] {a} [P] [Y] ."), answer)})
    directory = written(name, prompt, tmp_path / "out")
    found = compare(prompt, records_of(prompt), FORMATS[name].load(prompt, [0], directory))
    assert found.same == len(PLACES) and found.difference < 1e-4


@pytest.mark.parametrize(("name", "why"), [("peft", "--to tokens or --to model")])
def test_what_a_format_cannot_hold_is_refused(
    name: str, why: str, tiny_llama: Path, tiny_bert: Path
) -> None:
    with pytest.raises(UserError, match=f"task words has slots behind {{a}}.*{why}"):
        prompt = prompt_of(tiny_llama, ANYWHERE)
        FORMATS[name].check(prompt, range(len(prompt.tasks)))
    answer = Ranked({"all": None}, one_token=True)
    masked = prompt_of(tiny_bert, {"where": Wording(Pattern.parse("[P] {a} [Y] ."), answer)})
    for each in ("peft", "vllm"):
        with pytest.raises(UserError, match="use --to model"):
            FORMATS[each].check(masked, [0])


def test_requests_have_the_ids_of_their_records_and_need_one_token(
    tiny_llama: Path, tmp_path: Path
) -> None:
    prompt = prompt_of(tiny_llama, ONE_REQUEST)
    directory = written("vllm", prompt, tmp_path / "out")
    lines = [json.loads(line) for line in (directory / "http.jsonl").read_text().splitlines()]
    assert [line["record"] for line in lines] == PLACES * len(ONE_REQUEST)
    with pytest.raises(UserError, match="task choices have several tokens to be compared"):
        written("vllm", prompt_of(tiny_llama, {"choices": WORDINGS["choices"]}), tmp_path / "no")
    records = {0: [Record("new", {"a": "Oslo"}, None)]}
    with pytest.raises(UserError, match="--check has a record that --input has not"):
        compare(prompt, records, FORMATS["vllm"].load(prompt, [0], directory))


def test_a_checkpoint_is_spelled_as_its_template_says(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    wordings = {"words": WORDINGS["words"], "text": WORDINGS["text"]}
    prompt = prompt_of(tiny_llama, wordings)
    directory = written("model", prompt, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    about = json.loads((directory / "ptune_scale.json").read_text())["tasks"]
    for row, records in records_of(prompt).items():
        task = prompt.tasks[row]
        for record in records:
            text = about[task.task.name]["template"].replace("{a}", record.fields["a"])
            text = text.replace("{a...}", record.fields["a"])
            ids = about[task.task.name]["ids"]
            example = task.questions([record], "evaluate")[0].rows[0]
            expected = [
                token if slot < 0 else ids[slot]
                for token, slot in zip(example.ids, example.slots, strict=True)
            ]
            assert tokenizer(text)["input_ids"] == expected


def test_new_tokens_are_never_written(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    prompt = prompt_of(tiny_llama, {"words": WORDINGS["words"]})
    directory = written("model", prompt, tmp_path / "out")
    about = json.loads((directory / "ptune_scale.json").read_text())["tasks"]["words"]
    assert GenerationConfig.from_pretrained(directory).suppress_tokens == about["ids"]


def test_arrays_are_the_vectors_to_the_bit(tiny_llama: Path, tmp_path: Path) -> None:
    prompt = prompt_of(tiny_llama, {"words": WORDINGS["words"], "choices": WORDINGS["choices"]})
    directory = written("npy", prompt, tmp_path / "out")
    for row, name in enumerate(("words", "choices")):
        array = numpy.load(directory / f"{name}.npy")
        assert array.dtype == numpy.float32
        assert (array == prompt.export.prompts[row].numpy()).all()
