"""A served model finds what the same model finds in this process."""

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.asked import LOSSES, QUESTIONS, values_of
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.serve.together import compute
from tests.serve.conftest import everything, losses, prompts, questions, rows
from tests.serving import served

MODELS = ["tiny_llama", "tiny_gpt2", "tiny_bert"]


def test_everything_that_has_a_name_is_tried_here() -> None:
    assert losses().keys() == LOSSES.keys()
    assert questions(300).keys() == QUESTIONS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_a_local_model(
    name: str, request, serving, local, remote
) -> None:
    model = request.getfixturevalue(name)
    here, there = local(model), remote(serving(model))
    for kind, (batch, asked) in losses().items():
        expected = here.loss_and_gradient(batch, prompts(), asked)
        found = there.loss_and_gradient(batch, prompts(), asked)
        assert float(expected[1].abs().max()) > 0
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=kind)
        assert not found[1][1].any()  # the task that has no row


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_a_local_model_in_shape_and_type_too(
    name: str, request, serving, local, remote
) -> None:
    model = request.getfixturevalue(name)
    here, there = local(model), remote(serving(model))
    size = here.engine.lm.model.config.vocab_size
    for kind, (batch, asked) in questions(size).items():
        shape, dtype = values_of(asked, batch.num_targets)
        expected = here.ask(batch, prompts(), asked, shape, dtype)
        found = there.ask(batch, prompts(), asked, shape, dtype)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=kind)


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_gpt2"])
def test_texts_are_those_of_a_local_model(name: str, request, serving, local, remote) -> None:
    model = request.getfixturevalue(name)
    here, there = local(model), remote(serving(model))
    assert there.has_cache == here.has_cache
    batch = rows(12, 9)
    first = here.generate(batch, prompts(), max_tokens=1)
    stop = {first[0].tokens[0]}  # so that one ends at once
    expected = here.generate(batch, prompts(), max_tokens=7, stop=stop)
    found = there.generate(batch, prompts(), max_tokens=7, stop=stop)
    assert [(one.tokens, one.ended) for one in found] == [
        (one.tokens, one.ended) for one in expected
    ]
    assert expected[0].ended and not all(one.ended for one in expected)
    for one, other in zip(found, expected, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_client_knows_the_model_without_a_weight(name: str, request, serving) -> None:
    model = request.getfixturevalue(name)
    here, there = load_backbone(str(model)), open_served(serving(model))
    for what in ("name", "fingerprint", "dtype", "kind", "hidden_size", "vocab_size"):
        assert getattr(there, what) == getattr(here, what), what
    assert there.tokens.digest == here.tokens.digest
    assert there.config.to_dict().keys() == here.config.to_dict().keys()
    assert there.embeddings.spread == here.embeddings.spread
    assert torch.equal(there.embeddings.center, here.embeddings.center)
    assert torch.equal(there.embeddings.of([7, 3, 3]), here.embeddings.of([7, 3, 3]))
    assert torch.equal(there.embeddings.rows(2, 9), here.embeddings.rows(2, 9))


@pytest.mark.parametrize("is_known", [True, False])
def test_a_server_of_small_limits_answers_as_one_of_large_ones(
    is_known: bool, tiny_llama, serving, remote
) -> None:
    """Known from the beginning, or met when the one that was described is gone."""
    with served(tiny_llama, request_tokens=64) as url:
        large = remote(serving(tiny_llama))
        small = remote(url) if is_known else remote(serving(tiny_llama))
        small._servers.urls = [url]
        send, count = small._servers._send, 0

        def counted(*request):
            nonlocal count
            count += 1
            return send(*request)

        small._servers._send = counted
        asked = everything(large._said.limits.vocab_size)
        for request in asked if is_known else asked[-3:]:
            expected, found = (compute(each, [request])[0] for each in (large, small))
            if request.kind == "generate":
                assert [one.tokens for one in found] == [one.tokens for one in expected]
            else:
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert count > 2 * len(asked) if is_known else count > 2 * 3
        assert small._limits.request_tokens == 64


def test_a_question_too_large_for_one_server_is_asked_of_another(
    tiny_llama, serving, remote
) -> None:
    batch = rows(1, 8, group_size=4)
    with served(tiny_llama, request_tokens=16) as small:
        expected = remote(serving(tiny_llama)).loss_and_gradient(batch, prompts())
        function = remote(f"{small},{serving(tiny_llama)}")
        for place in (0, 1):
            function._servers._place = place
            found = function.loss_and_gradient(batch, prompts())
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(UserError, match="413 .* more than the 16 of a request"):
            remote(small).loss_and_gradient(batch, prompts())
