"""How rows lie in lines."""

import torch

from ptune_scale.backbone.lay_out import SHARED
from ptune_scale.backbone.lines import pack, pack_behind, pack_rounded
from ptune_scale.task.example import Example, collate


def example(task: int, ids: tuple[int, ...], slots: tuple[int, ...]) -> Example:
    return Example(task, ids, slots, (len(ids) - 1,), (1,))


def leading(task: int, *words: int) -> Example:
    """Two slots, words, one slot."""
    return example(task, (0, 0, *words, 0), (0, 1, *[-1] * len(words), 2))


def test_rows_of_a_task_share_its_beginning() -> None:
    lines = pack(collate([leading(0, 5), leading(0, 6, 7), leading(1, 8)]), 3, skip_lead=True)
    assert lines.lead == 0
    assert lines.ids.shape == (1, 11)  # 2 + 3 + 2 tokens of task 0, 4 of the other
    # Behind it the longest row of the task comes first.
    rows = [SHARED, SHARED, 1, 1, 1, 0, 0, SHARED, SHARED, SHARED, 2]
    assert lines.rows.tolist() == [rows]


def test_rows_of_a_question_share_the_record_where_that_saves_more() -> None:
    def options(number: int, *words: int) -> list[Example]:
        slots = (0, 1, *[-1] * (len(words) + 1))
        return [
            Example(0, (0, 0, *words, option), slots, (len(words) + 1,), (option,), 0, number)
            for option in (40, 41, 42)
        ]

    rows = [*options(0, *range(5, 15)), *options(1, *range(20, 30))]
    lines = pack(collate(rows), 2, skip_lead=False)
    assert int((lines.families >= 0).sum()) == 2 * (11 + 3 * 2)  # a target is never shared
    # Of one row each, they share what the task begins with.
    alone = [*options(0, 5)[:1], *options(1, 6)[:1], *options(2, 7)[:1]]
    assert int((pack(collate(alone), 2, skip_lead=False).families >= 0).sum()) == 2 + 3 * 2


def test_a_long_beginning_is_not_repeated_for_every_row() -> None:
    beginning = [1] * 400
    rows = [[*beginning, 2 + row, *[3] * (row % 9)] for row in range(40)]
    batch = collate([example(0, tuple(ids), (-1,) * len(ids)) for ids in rows])
    lines = pack(batch, 0, skip_lead=False)
    once = len(beginning) + sum(len(ids) - len(beginning) for ids in rows)
    assert lines.ids.numel() <= 1.2 * once


def test_no_token_is_lost_or_there_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    examples = [
        leading(task, *torch.randint(1, 50, (1 + row % 6,), generator=generator).tolist())
        for task in range(4)
        for row in range(9)
    ]
    batch = collate(examples)
    lines = pack(batch, 3, skip_lead=False)
    for number, one in enumerate(examples):
        own = lines.rows == number
        line = int(own.any(1).nonzero())
        shared = (lines.rows[line] == SHARED) & (lines.families[line] == one.task)
        mine = own[line] | shared
        order = lines.positions[line][mine].argsort()
        assert lines.positions[line][mine][order].tolist() == list(range(len(one.ids)))
        assert lines.ids[line][mine][order].tolist() == list(one.ids)
        cells = [-1 if slot == -1 else one.task * 3 + slot for slot in one.slots]
        assert lines.cells[line][mine][order].tolist() == cells
        place = int(lines.targets[number, 0])
        assert int(lines.positions.flatten()[place]) == one.targets[0]
        assert int(lines.rows.flatten()[place]) == number


def test_a_token_sees_its_row_and_what_the_row_shares_up_to_itself() -> None:
    batch = collate([leading(0, 5, 6), leading(0, 7), leading(1, 8, 9, 10)])
    lines = pack(batch, 3, skip_lead=False)
    visible = lines.mask(torch.float32)[:, 0] == 0
    for line in range(len(lines.ids)):
        for query in range(lines.ids.shape[1]):
            family, row = lines.families[line, query], lines.rows[line, query]
            for key in range(lines.ids.shape[1]):
                expected = (
                    lines.families[line, key] == family
                    and lines.rows[line, key] in (row, SHARED)
                    and lines.positions[line, key] <= lines.positions[line, query]
                )
                assert bool(visible[line, query, key]) == bool(expected)
    assert visible.any(-1).all()  # padding too: no row of scores is empty


def test_tokens_before_the_first_slot_stand_in_front_where_they_are_many() -> None:
    rows = [example(0, (5, 6, 7, word, 0, 0), (-1, -1, -1, -1, 0, 1)) for word in (8, 9)]
    lines = pack(collate(rows), 2, skip_lead=True)
    assert lines.lead == 5  # three shared words and one of each row
    assert (lines.cells[:, : lines.lead] == -1).all()
    assert int((lines.cells >= 0).sum()) == 4
    assert lines.targets.flatten().tolist() == [1, 3]  # counted behind the lead
    assert pack(collate(rows), 2, skip_lead=False).lead == 0
    few = [example(0, (5, 0, 0, word, 0, 0), (-1, 0, 1, -1, 2, 3)) for word in (8, 9)]
    assert pack(collate(few), 4, skip_lead=True).lead == 0


def test_long_rows_have_lines_of_their_own() -> None:
    rows = [leading(0, *range(1 + row, 200 + 2 * row)) for row in range(3)]
    lines = pack(collate(rows), 3, skip_lead=True)
    assert lines.ids.shape[0] == 3
    assert lines.ids.shape[1] == len(rows[-1].ids)


def test_rounded_lines_have_few_sizes_and_hold_the_same() -> None:
    rows = [leading(task, *range(5, 6 + length)) for task in range(5) for length in range(4)]
    lines = pack_rounded(collate(rows), 3, lambda num_tokens: True)
    assert lines is not None and lines.rounded and lines.lead == 0
    assert lines.ids.shape == (4, 64) and lines.columns.shape == (4, 32)
    exact = pack(collate(rows), 3, skip_lead=False)
    for each in (lines, exact):
        targets = [divmod(place, each.ids.shape[1]) for [place] in each.targets.tolist()]
        flat = each.columns.flatten()[each.places.flatten()].tolist()
        assert flat == [column for _, column in targets]
        assert [each.rows[place] for place in targets] == list(range(len(rows)))
    own = [
        torch.stack((each.rows, each.positions, each.ids))[:, each.rows >= 0].T.tolist()
        for each in (lines, exact)
    ]
    assert sorted(own[0]) == sorted(own[1])


def test_lines_that_would_be_too_large_are_not_rounded() -> None:
    rows = [leading(0, 5), leading(0, 6)]
    assert pack_rounded(collate(rows), 3, lambda num_tokens: num_tokens < 4 * 64) is None
    assert pack_rounded(collate(rows), 3, lambda num_tokens: num_tokens <= 4 * 64) is not None


def test_rounded_lines_behind_texts_have_room_for_more_than_is_known() -> None:
    batch = collate([leading(0, 5), leading(1, 6)])
    lines, firsts = pack_behind(batch, [2, 1], 3, rounded=True)
    assert firsts == [0, 1] and lines.known is not None
    assert lines.known.tolist() == [2, 1, 0, 0] and lines.most_known == 64
    seen = lines.mask(torch.float32)[:, 0, :, :64] == 0
    assert seen.sum(2).unique(dim=1).flatten().tolist() == [2, 1, 0, 0]
