"""What is wrong with a server is said in one line before anything is loaded."""

import importlib.util
from pathlib import Path

import pytest
from starlette.applications import Starlette

from ptune_scale.errors import UserError
from ptune_scale.serve.check import check
from ptune_scale.serve.config import ServeConfig
from ptune_scale.serve.door import Door


def test_a_library_that_is_not_there_is_named_with_what_to_type(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "prometheus_client" else find(name, *more),
    )
    with pytest.raises(UserError, match="serving needs: pip install prometheus-client"):
        check(ServeConfig.from_flags({"model": str(tiny_llama)}))


def test_an_address_that_is_taken_is_refused(serving, tiny_llama: Path) -> None:
    port = int(serving(tiny_llama).rpartition(":")[2])
    with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
        Door(Starlette(), "127.0.0.1", port, 10)


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="--port must be below 65536"):
        ServeConfig.from_flags({"port": 70000})


def test_limits_are_those_of_the_model(tiny_llama: Path) -> None:
    limits = check(ServeConfig.from_flags({"model": str(tiny_llama), "pass_tokens": 99})).limits
    assert (limits.context, limits.hidden_size, limits.pass_tokens) == (64, 32, 99)
    assert limits.words == limits.vocab_size and limits.is_causal
