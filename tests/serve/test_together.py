"""Requests in one pass: what each gets does not depend on its company."""

from dataclasses import replace

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.serve.access import ANYBODY, Caller
from ptune_scale.serve.ticket import Ticket
from ptune_scale.serve.together import compute
from ptune_scale.task.objective import cross_entropy
from tests.serve.conftest import everything, prompts, rows

NOBODY = Caller(ANYBODY, "", "")
KINDS = ["loss", "ask", "generate"]


def of_kind(kind: str, vocab_size: int, group_size: int = 1) -> list[ModelRequest]:
    """Each with prompts of its own, one with more slots than the others."""
    found = [
        replace(request, prompts=prompts(number))
        for number, request in enumerate(everything(vocab_size))
        if request.kind == kind and request.batch.group_size == group_size
    ]
    more = torch.cat([prompts(9), prompts(10)[:, :1]], dim=1)
    return [*found, replace(found[0], prompts=more)]


def close(found, expected) -> None:
    if isinstance(expected, list):
        assert [(one.tokens, one.ended) for one in found] == [
            (one.tokens, one.ended) for one in expected
        ]
    else:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny_llama", "tiny_bert"])
def test_each_gets_what_it_gets_alone(name: str, kind: str, request, local) -> None:
    if (name, kind) == ("tiny_bert", "generate"):
        pytest.skip("a masked model writes nothing")
    function = local(request.getfixturevalue(name))
    requests = of_kind(kind, function.engine.lm.model.config.vocab_size)
    assert len(requests) > 1
    for found, each in zip(compute(function, requests), requests, strict=True):
        close(found, compute(function, [each])[0])


def test_losses_of_groups_go_together_too(tiny_llama, local) -> None:
    function = local(tiny_llama)
    requests = of_kind("loss", 300, group_size=2)
    assert len(requests) == 3
    for found, each in zip(compute(function, requests), requests, strict=True):
        close(found, compute(function, [each])[0])


def test_the_same_company_gives_the_same_bits(tiny_llama, local) -> None:
    function = local(tiny_llama)
    requests = of_kind("loss", 300)
    for one, other in zip(compute(function, requests), compute(function, requests), strict=True):
        assert all(map(torch.equal, one, other))


def test_one_that_overflows_does_not_touch_the_others(tiny_llama, local) -> None:
    function = local(tiny_llama)
    size = function.engine.lm.model.config.vocab_size
    for kind in ("loss", "ask"):
        good, other = of_kind(kind, size)[:2]
        bad = replace(other, prompts=torch.full_like(other.prompts, torch.nan))
        found = compute(function, [good, bad, good])
        close(found[0], compute(function, [good])[0])
        close(found[2], compute(function, [good])[0])
        is_error = isinstance(found[1], UserError)
        assert is_error if kind == "ask" else not found[1][1].isfinite().all()


@pytest.mark.parametrize("pass_tokens, pass_targets", [(24, 2048), (16384, 4), (40, 9)])
def test_a_request_in_pieces_is_answered_as_a_whole(
    pass_tokens: int, pass_targets: int, tiny_llama, local
) -> None:
    function = local(tiny_llama)
    for whole in everything(function.engine.lm.model.config.vocab_size):
        one = Ticket(whole, NOBODY, 1 << 20, 1 << 20)
        cut = Ticket(whole, NOBODY, pass_tokens, pass_targets)
        assert len(one.pieces) == 1 and len(cut.pieces) > 1 or whole.kind == "generate"
        for ticket in (one, cut):
            for piece in ticket.pieces:
                ticket.add(piece, compute(function, [piece.request])[0])
        if whole.kind == "loss":
            close(cut._gradient, one._gradient)
            close(cut._losses, one._losses)
        elif whole.kind == "ask":
            close(cut._found, one._found)
        else:
            close(list(dict(sorted(cut._written.items())).values()), list(one._written.values()))


def test_what_is_wrong_with_one_piece_is_the_answer_to_the_request(tiny_llama, local) -> None:
    batch = rows(1, 9)
    ticket = Ticket(ModelRequest("loss", batch, prompts(), cross_entropy), NOBODY, 24, 2048)
    first, second, *_ = ticket.pieces
    ticket.add(first, UserError("it does not fit"))
    ticket.add(second, (torch.zeros(4), torch.zeros(4, 3, 32)))
    with pytest.raises(UserError, match="it does not fit"):
        ticket.answer.result(0)
    assert not ticket.is_wanted
