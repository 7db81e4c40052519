"""A saved state takes the place of one of the same kind only."""

import pytest
import torch

from ptune_scale.errors import UserError
from ptune_scale.train.saved_state import check_adam, check_like

NOW = {
    "prompts": torch.zeros(2, 3),
    "best": [0.0, 0.0],
    "stopped": [False, True],
    "visits": [1, 2],
    "losses": [],
    "values": [(), (0.5,)],
}


def test_what_grew_and_changed_in_training_is_taken() -> None:
    saved = {**NOW, "prompts": torch.ones(2, 3), "losses": [0.5, 1.0], "visits": [7, 8]}
    check_like({**saved, "values": [(0.1, 0.2), ()]}, NOW, "state")


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": torch.ones(2, 4)},
        {"prompts": torch.ones(2, 3).half()},
        {"prompts": torch.full((2, 3), torch.nan)},
        {"prompts": None},
        {"best": [0.0]},
        {"best": 0.0},
        {"visits": [True, 2]},
        {"visits": ["1", 2]},
        {"losses": [None]},
        {"values": [(), ("a",)]},
        {"more": 1},
    ],
)
def test_another_kind_of_state_is_refused(change: dict) -> None:
    with pytest.raises(UserError, match="state is not as it was written"):
        check_like({**NOW, **change}, NOW, "state")


def test_adams_state_fits_its_parameters() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    adam = torch.optim.Adam([parameter])
    check_adam(adam.state_dict(), [parameter], "adam")
    parameter.grad = torch.ones(2, 3)
    adam.step()
    check_adam(adam.state_dict(), [parameter], "adam")
    for bad in (None, [], {"state": []}, {"state": {1: {}}}, {"state": {0: {"step": 1}}}):
        with pytest.raises(UserError, match="adam is not as it was written"):
            check_adam(bad, [parameter], "adam")
    with pytest.raises(UserError, match="adam is not"):
        check_adam(adam.state_dict(), [torch.zeros(3, 3)], "adam")
