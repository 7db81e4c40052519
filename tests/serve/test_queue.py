"""What waits: fair between those who ask, bounded, and emptied at the end."""

import threading
from dataclasses import replace

import pytest
import torch

from ptune_scale.parallel.remote.request import ModelRequest
from ptune_scale.serve.access import ANYBODY, Access, Caller, Person
from ptune_scale.serve.queue import Draining, Full, Queue
from ptune_scale.serve.ticket import Ticket
from ptune_scale.task.asked import Ranks, Top
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import Batch, Example, collate
from ptune_scale.task.objective import cross_entropy, mean_cross_entropy


def queue(most: int = 64, share: int = 64, pass_tokens: int = 100, patience: float = 0.0) -> Queue:
    return Queue(most, share, pass_tokens, 1000, patience)


def ticket(who: str, count: int, *, length: int = 10, kind: str = "loss", slots: int = 1) -> Ticket:
    row = Example(0, (1,) * length, (0,) + (-1,) * (length - 1), (length - 1,), (1,))
    asked = {"loss": cross_entropy, "ask": mean_cross_entropy}[kind]
    request = ModelRequest(kind, collate([row] * count), torch.zeros(1, slots, 4), asked)
    return Ticket(request, Caller(ANYBODY, who, who), 100, 1000)


def test_one_with_a_lot_to_do_does_not_hold_up_the_others() -> None:
    waiting = queue()
    waiting.put(ticket("large", 200))  # 20 passes
    waiting.put(ticket("small", 5))
    waiting.put(ticket("other", 5))
    passes = [waiting.take(0) for _ in range(3)]
    served = [piece.ticket.who for pieces in passes for piece in pieces or ()]
    assert served.count("small") == served.count("other") == 1
    assert served[0] == "large"  # it came first, and nobody had got anything


def test_all_get_as_much_whoever_asks_more_often() -> None:
    waiting = queue(most=1000, share=1000)
    for _ in range(90):
        waiting.put(ticket("often", 10))
    for _ in range(30):
        waiting.put(ticket("seldom", 10))
    served = [(waiting.take(0) or [])[0].ticket.who for _ in range(60)]
    assert served.count("often") == served.count("seldom") == 30


def test_who_comes_late_gets_no_more_than_the_others_from_then_on() -> None:
    waiting = queue(most=1000, share=1000)
    for _ in range(80):
        waiting.put(ticket("early", 10))
    for _ in range(40):
        waiting.take(0)
    for _ in range(30):
        waiting.put(ticket("late", 10))
    served = [(waiting.take(0) or [])[0].ticket.who for _ in range(40)]
    assert 19 <= served.count("late") <= 21


def test_a_pass_is_filled_with_what_fits_and_can_go_together() -> None:
    waiting = queue()
    waiting.put(ticket("a", 4))
    waiting.put(ticket("b", 4))
    waiting.put(ticket("c", 4))
    waiting.put(ticket("d", 2, kind="ask"))
    waiting.put(ticket("e", 2))
    waiting.put(ticket("f", 1, slots=9))
    first, second, third, fourth = (waiting.take(0) for _ in range(4))
    assert [piece.ticket.who for piece in first or ()] == ["a", "b", "e"]
    assert {piece.ticket.who for pieces in (second, third, fourth) for piece in pieces or ()} == {
        "c",
        "d",
        "f",
    }
    assert waiting.take(0) == []


def test_longer_rows_of_others_count_for_all_that_are_padded_to_them() -> None:
    waiting = queue()
    waiting.put(ticket("short", 5, length=2))
    waiting.put(ticket("long", 2, length=40))
    assert [piece.ticket.who for piece in waiting.take(0) or ()] == ["short"]


def test_of_rows_that_share_a_pass_no_more_is_found_than_in_a_reply() -> None:
    waiting, row = queue(pass_tokens=10_000), Example(0, (1,), (0,), (0,), (1,))
    for who, count, k in (("wide", 1, 1 << 20), ("narrow", 20, 2), ("narrower", 20, 1)):
        request = ModelRequest("ask", collate([row] * count), torch.zeros(1, 1, 4), Top(k))
        waiting.put(Ticket(request, Caller(ANYBODY, who, who), 10_000, 1000))
    passes = [[piece.ticket.who for piece in waiting.take(0) or ()] for _ in range(2)]
    assert passes == [["wide"], ["narrow", "narrower"]]


def test_prompts_of_many_slots_fill_a_pass_as_tokens_do() -> None:
    waiting = queue()
    for who in ("a", "b"):
        waiting.put(ticket(who, 1, slots=60))
    assert [piece.cost for piece in waiting.take(0) or ()] == [60]


def test_targets_count_where_they_are_more_than_tokens() -> None:
    row = Example(0, (1,), (0,), (0,) * 7, (1,) * 7)
    request = ModelRequest("loss", collate([row] * 3), torch.zeros(1, 1, 4), mean_cross_entropy)
    [piece] = Ticket(request, Caller(ANYBODY, "a", "a"), 100, 1000).pieces
    assert piece.cost == 21


def test_too_many_are_sent_away_and_places_are_free_again_when_answered() -> None:
    waiting = queue(most=3, share=2)
    first = ticket("a", 1)
    waiting.put(first)
    waiting.put(ticket("a", 1))
    with pytest.raises(Full):
        waiting.put(ticket("a", 1))
    waiting.put(ticket("b", 1))
    with pytest.raises(Full):
        waiting.put(ticket("c", 1))
    for piece in waiting.take(0) or ():
        piece.ticket.add(piece, (torch.zeros(1), torch.zeros(1, 1, 4)))
    assert len(waiting) == 0
    waiting.put(ticket("c", 1))
    assert len(waiting) == 1


def test_what_waits_holds_no_more_memory_than_it_may() -> None:
    large = [ticket(who, 1, slots=32) for who in "abcd"]
    waiting = Queue(64, 64, 100, 1000, 0.0, most_bytes=3 * large[0].num_bytes)
    for each in large[:3]:
        waiting.put(each)
    with pytest.raises(Full):
        waiting.put(large[3])
    large[0].give_up()
    waiting.put(large[3])
    # What is larger than all that may wait is taken when nothing else is there.
    alone = Queue(64, 64, 100, 1000, 0.0, most_bytes=10)
    alone.put(large[3])


def test_one_with_large_requests_leaves_room_for_others() -> None:
    large = [ticket("large", 1, slots=32) for _ in range(3)]
    waiting = Queue(64, 64, 100, 1000, 0.0, most_bytes=8 * large[0].num_bytes)
    for each in large[:2]:
        waiting.put(each)
    with pytest.raises(Full):
        waiting.put(large[2])
    waiting.put(ticket("other", 1, slots=32))


def test_all_that_a_request_holds_is_counted() -> None:
    row = Example(0, (1,), (0,), (0,), (1,))

    def held(batch: Batch, slots: int, sets: int) -> int:
        asked = Ranks(Candidates(800, {str(number): None for number in range(sets)}))
        request = ModelRequest("ask", batch, torch.zeros(1, slots, 4), asked)
        return Ticket(request, Caller(ANYBODY, "a", "a"), 100, 1000).num_bytes

    least = held(collate([row]), 1, 1)
    assert held(collate([row]), 11, 1) - least == 2 * 10 * 4 * 4
    assert held(collate([row]), 1, 11) - least == 10 * 800 + 10 * 8
    assert held(collate([replace(row, ids=(1,) * 101, slots=(0,) * 101)]), 1, 1) - least >= 1600
    # In pieces each row has as many targets as the one with the most.
    many = replace(row, targets=(0,) * 40, answers=(1,) * 40)
    few = held(collate([row] * 31), 1, 1)
    assert held(collate([many, *[row] * 30]), 1, 1) - few >= 31 * 39 * (8 + 16)


def test_who_asks_under_ever_new_names_is_forgotten() -> None:
    waiting = queue(most=10_000, share=10_000)
    waiting.put(ticket("long", 500))
    for number in range(300):
        waiting.put(ticket(f"name {number}", 1))
        waiting.take(0)
    assert len(waiting._got) < 50


def test_many_who_come_and_go_cannot_stay_before_somebody_who_waits() -> None:
    waiting = queue(most=10_000, share=10_000)
    waiting.put(ticket("long", 50))
    served = []
    waiting.put(ticket("name", 10))
    for number in range(20):  # there is always one of them
        waiting.put(ticket(f"name {number}", 10))
        served += [piece.ticket.who for piece in waiting.take(0) or ()]
    assert served.count("long") == 5
    assert len(waiting._got) < 25


def test_what_nobody_waits_for_is_not_computed() -> None:
    waiting = queue()
    gone, kept = ticket("a", 50), ticket("a", 1)
    waiting.put(gone)
    waiting.put(kept)
    gone.give_up()
    assert [piece.ticket for piece in waiting.take(0) or ()] == [kept]


def test_a_closed_queue_finishes_what_it_has_and_takes_nothing() -> None:
    waiting = queue()
    waiting.put(ticket("a", 15))
    waiting.close(60)
    with pytest.raises(Draining):
        waiting.put(ticket("a", 1))
    assert waiting.take(0) and waiting.take(0)
    assert waiting.take(0) is None


def test_what_is_not_finished_in_time_is_answered_with_an_error() -> None:
    waiting = queue()
    late = ticket("a", 15)
    waiting.put(late)
    waiting.close(0)
    assert waiting.take(0) is None
    assert waiting.give_up_all(TimeoutError("too late")) == 1
    with pytest.raises(TimeoutError):
        late.answer.result(0)


def test_a_piece_waits_a_moment_for_whoever_was_here_before() -> None:
    waiting = queue(patience=60)
    found: list[list[str]] = []

    def take() -> None:
        found.append(sorted(piece.ticket.who for piece in waiting.take(60) or ()))

    waiting.put(ticket("a", 1))
    take()  # nobody else is expected
    waiting.put(ticket("b", 1))
    thread = threading.Thread(target=take)
    thread.start()
    waiting.put(ticket("a", 1))  # all are here now, and nobody waits any longer
    thread.join(30)
    waiting.put(ticket("a", 1))
    thread = threading.Thread(target=take)
    thread.start()
    waiting.put(ticket("c", 10))  # it fills a pass
    thread.join(30)
    assert found[:2] == [["a"], ["a", "b"]]
    assert len(found) == 3


def test_nobody_waits_for_whoever_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = queue(patience=60)
    waiting.put(ticket("a", 1))
    waiting.take(0)
    waiting.put(ticket("b", 1))
    monkeypatch.setattr("ptune_scale.serve.queue._RECENT_SECONDS", 0.0)
    assert [piece.ticket.who for piece in waiting.take(0) or ()] == ["b"]


def test_jobs_of_one_person_wait_for_each_other() -> None:
    waiting = queue(patience=60)
    person = Person("alice", b"1")
    jobs = [Access([person]).caller(person, name) for name in ("x", "y")]
    found: list[int] = []
    for job in (0, 1):
        waiting.put(Ticket(ticket("", 1).request, jobs[job], 100, 1000))
        if job == 0:
            waiting.take(0)
    thread = threading.Thread(target=lambda: found.append(len(waiting.take(60) or ())))
    thread.start()
    waiting.put(Ticket(ticket("", 1).request, jobs[0], 100, 1000))
    thread.join(30)
    assert found == [2]
