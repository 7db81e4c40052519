"""lm-evaluation-harness measures a tuned prompt as it measures its PEFT export."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="pip install lm-eval")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from ptune_scale.errors import UserError
from ptune_scale.evaluate.harness import PtuneLM
from ptune_scale.evaluate.harness_run import open_tasks
from ptune_scale.task.task import Wording
from ptune_scale.use.formats import FORMATS
from ptune_scale.use.prompt import load_prompt
from tests.evaluate.conftest import BEHIND, FRONT, PLACES, Save

TASKS = {"CB": "ptune_cb", "P36": "ptune_lama"}


def exported(prompt: Path, format: str) -> Path:
    """The only task of a prompt, for other software."""
    loaded = load_prompt(prompt)
    target = prompt.with_name(f"{prompt.name}_{format}")
    target.mkdir()
    FORMATS[format].write(loaded, [0], {}, target)
    return target


def ask(output_type: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(output_type, {}, each, i) for i, each in enumerate(arguments)]


def adapter(base: Path, folder: Path) -> HFLM:
    """The harness's own model over PEFT's."""
    return HFLM(
        str(base),
        peft=str(folder),
        add_bos_token=False,
        dtype="float32",
        device="cpu",
        batch_size=4,
    )


def measured(lm: Any, task: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Scores of a task, and the log-probabilities behind them."""
    manager = open_tasks([task], given)
    found = simple_evaluate(lm, tasks=[task], task_manager=manager, bootstrap_iters=0)
    answers = [value[0] for each in found["samples"][task] for value in each["filtered_resps"]]
    scores = {key: value for key, value in found["results"][task].items() if "stderr" not in key}
    return scores, [float(each) for each in answers]


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_and_its_peft_export_get_the_same_numbers(
    name: str, save: Save, data: Path, tiny_llama: Path
) -> None:
    pytest.importorskip("peft")
    prompt = save({name: FRONT[name]})
    folder = exported(prompt, "peft")
    own = PtuneLM.create_from_arg_string(f"prompt={prompt}", {"batch_size": 2})
    mine, my_answers = measured(own, TASKS[name], {"prompt": str(prompt), "data_dir": str(data)})
    theirs, answers = measured(
        adapter(tiny_llama, folder),
        TASKS[name],
        {"pretrained": str(tiny_llama), "peft": str(folder), "data_dir": str(data)},
    )
    assert mine == theirs and mine["sample_len"] == len(PLACES)
    assert my_answers == pytest.approx(answers, abs=1e-4)
    # Numbers that do not depend on the prompt would be the same, whatever was asked.
    own.prompt.export.prompts.neg_()
    _, others = measured(own, TASKS[name], {"prompt": str(prompt), "data_dir": str(data)})
    assert my_answers != pytest.approx(others, abs=1e-2)


@pytest.mark.parametrize("wordings", [FRONT, BEHIND])
def test_its_numbers_are_those_of_the_prompt_itself(
    wordings: Mapping[str, Wording], save: Save, data: Path
) -> None:
    prompt = save(wordings)
    own = load_prompt(prompt)
    lines = [json.loads(line) for line in (data / "CB/val.jsonl").read_text().splitlines()]
    predictions = own.predict(lines, "CB")
    given = {"prompt": str(prompt), "data_dir": str(data)}
    scores, logs = measured(PtuneLM(own), "ptune_cb", given)
    pairs = zip(lines, predictions, strict=True)
    right = [line["label"] == found.answer for line, found in pairs]
    assert scores["acc,none"] == pytest.approx(sum(right) / len(right))
    for number, found in enumerate(predictions):
        shares = torch.tensor(logs[3 * number : 3 * number + 3]).softmax(0).tolist()
        assert list(found.scores.values()) == pytest.approx(shares, abs=1e-5)
    scores, _ = measured(PtuneLM(own), "ptune_lama", given)
    facts = [own.predict([{"subject": place}], "P36")[0].answer for place in PLACES]
    assert scores["acc,none"] == pytest.approx(facts.count("Rome") / len(facts))


def test_an_exported_checkpoint_is_asked_in_the_same_words(
    save: Save, data: Path, tiny_llama: Path
) -> None:
    prompt = save({"CB": BEHIND["CB"]})
    folder = exported(prompt, "model")
    given = {"pretrained": str(folder), "data_dir": str(data)}
    lm = HFLM(str(folder), dtype="float32", device="cpu")
    _, answers = measured(lm, "ptune_cb", given)
    given = {"prompt": str(prompt), "data_dir": str(data)}
    _, mine = measured(PtuneLM(load_prompt(prompt)), "ptune_cb", given)
    # Its vocabulary has rows for the slots too, which take a share of the probability.
    gaps = [own - other for own, other in zip(mine, answers, strict=True)]
    assert min(gaps) > -1e-4 and max(gaps) < 0.2


def test_texts_are_scored_and_written_as_over_the_peft_export(save: Save, tiny_llama: Path) -> None:
    pytest.importorskip("peft")
    prompt = save({"P36": FRONT["P36"]})
    own, theirs = PtuneLM(load_prompt(prompt)), adapter(tiny_llama, exported(prompt, "peft"))
    texts = [(f"{place} is a city of {place}",) for place in PLACES]
    mine = own.loglikelihood_rolling(ask("loglikelihood_rolling", *texts))
    others = theirs.loglikelihood_rolling(ask("loglikelihood_rolling", *texts))
    assert mine == pytest.approx(others, abs=1e-3)
    pairs = [("", "Norway is"), ("The city ", "of Rome"), ("Norway", " is a city")]
    mine = own.loglikelihood(ask("loglikelihood", *pairs))
    others = theirs.loglikelihood(ask("loglikelihood", *pairs))
    assert [each[0] for each in mine] == pytest.approx([each[0] for each in others], abs=1e-4)
    assert [each[1] for each in mine] == [each[1] for each in others]
    wanted = [
        (place, {"until": ["."], "max_gen_toks": 5 + number % 2})
        for number, place in enumerate(PLACES)
    ]
    mine = own.generate_until(ask("generate_until", *wanted))
    # One by one: what the other pads on the left comes between a prompt and its text.
    others = [theirs.generate_until(ask("generate_until", each))[0] for each in wanted]
    assert mine == others and all(mine)


def test_texts_longer_than_the_model_takes_are_cut_on_the_left(save: Save) -> None:
    own = PtuneLM(load_prompt(save({"P36": FRONT["P36"]})))
    room = own.max_length - len(own._head.ids)
    long = "Oslo is " * 80 + "a city in Norway near"
    ids = own.tok_encode(long)
    short = ids[len(ids) - room :]
    found = own._loglikelihood_tokens([(None, ids, [5]), (None, short, [5])])
    # Rows of other lengths round otherwise on some processors.
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and found[0][1] == found[1][1]
    [total] = own.loglikelihood_rolling(ask("loglikelihood_rolling", (long,)))
    assert len(ids) > room and total < 0
    [text] = own.generate_until(ask("generate_until", (long, {"until": [], "max_gen_toks": 3})))
    assert isinstance(text, str)


def test_what_cannot_be_asked_is_refused(save: Save, tiny_bert: Path, data: Path) -> None:
    prompt = save(BEHIND)
    own = PtuneLM(load_prompt(prompt), "CB")
    with pytest.raises(UserError, match="a text has no slots.*{premise} before them"):
        own.loglikelihood(ask("loglikelihood", ("Norway", " is")))
    both = "<|CB_0|> and <|P36_1|>"
    with pytest.raises(UserError, match="slots of CB, P36; each is asked by one prompt"):
        own.loglikelihood(ask("loglikelihood", (both, " is")))
    with pytest.raises(UserError, match="stand where the model should go on"):
        own.loglikelihood(ask("loglikelihood", ("<|CB_0|> a", " <|CB_1|>")))
    with pytest.raises(UserError, match="does not fit into the 64"):
        own.loglikelihood(ask("loglikelihood", ("<|CB_0|>" + " Oslo is" * 80, " a")))
    with pytest.raises(UserError, match="leave do_sample out"):
        own.generate_until(ask("generate_until", ("<|CB_0|>", {"do_sample": True})))
    with pytest.raises(UserError, match="no task 'P1'; it has CB, P36"):
        PtuneLM(load_prompt(prompt), "P1")
    for wrong in ("task=CB", f"prompt={prompt},revision=main"):
        with pytest.raises(UserError, match="takes prompt, task, model, dtype"):
            PtuneLM.create_from_arg_string(wrong)
    with pytest.raises(UserError, match="dtype=half16 is none"):
        PtuneLM.create_from_arg_string(f"prompt={prompt},dtype=half16")


def test_the_harness_command_knows_model_and_tasks(save: Save, data: Path, tmp_path: Path) -> None:
    prompt = save({"CB": BEHIND["CB"]})
    command = [sys.executable, "-m", "ptune_scale.evaluate", "run", "--model", "ptune_scale"]
    command += ["--model_args", f"prompt={prompt}", "--tasks", "ptune_cb", "--device", "cpu"]
    command += ["--metadata", json.dumps({"data_dir": str(data)}), "--output_path"]
    run = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "|ptune_cb|" in run.stdout
