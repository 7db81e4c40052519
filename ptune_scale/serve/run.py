"""A server from its ranks' meeting to its end."""

import contextlib
from pathlib import Path

import torch

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import PromptFunction, StopSignal, TextLimit, parallelize
from ptune_scale.parallel.remote.description import Description
from ptune_scale.run.self_check import self_check
from ptune_scale.run.site import Site
from ptune_scale.run.speed import Planned, choose_speed
from ptune_scale.serve.access import Access
from ptune_scale.serve.check import CheckedServer
from ptune_scale.serve.door import Door
from ptune_scale.serve.front import Front
from ptune_scale.serve.metrics import Metrics
from ptune_scale.serve.queue import Draining, Queue
from ptune_scale.serve.ranks import answer_requests
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.objective import mean_cross_entropy

_ROWS, _LENGTH, _SLOTS, _TEXT, _LONG = 32, 24, 8, 48, 10**7

_SENTENCES = (
    "The capital of Norway is",
    "She opened the letter, read it twice, and put it back without a word.",
    "Question: does the first sentence follow from the second? It rained all night, so the river "
    "rose, and in the morning the bridge was closed to everybody but the fire brigade. Answer:",
)
"""What a server tries before there are rows of anybody's."""

_DRAIN_SECONDS = 20.0
"""Less than a launcher waits for its ranks to end."""


def run(checked: CheckedServer, site: Site) -> None:
    """Serve until a signal comes; then finish what is there, and refuse the rest.

    Raises:
        UserError: the model or the layout does not fit, or the address cannot be had.
        Stopped: the server was told to end before it was ready.
    """
    config, backbone, world = checked.config, checked.backbone, site.world
    backbone.embeddings.center  # noqa: B018 (read before a layout takes the weights away)
    if config.model.speed == "auto":
        choose_speed(backbone, site.mesh, lambda: _planned(backbone))
    site.stop.check()
    function = parallelize(
        backbone,
        site.mesh,
        deepspeed_config=config.parallel.deepspeed_json,
        texts=TextLimit(config.model.text_cache, Path()),
    )
    if config.model.self_check == "on":
        self_check(backbone, site.mesh, lambda: _sentences(backbone))
    site.stop.check()
    if backbone.shortcuts.compiled_layers:
        _compile(function, backbone, config.capacity.pass_tokens, site.stop)
    if not world.is_main:
        world.on_main(lambda: None)
        answer_requests(function, site.stop, None, lambda: None, lambda pieces, seconds: None)
        return
    queue = Queue(
        config.capacity.queue_requests,
        config.capacity.queue_share,
        config.capacity.pass_tokens,
        config.capacity.pass_targets,
        config.capacity.patience_ms / 1000,
        config.capacity.queue_mib << 20,
    )
    metrics = Metrics(lambda: len(queue))
    front = _front(checked, function, site, queue, metrics)
    doors: list[Door] = []
    world.on_main(lambda: doors.append(_open(front, checked)))

    def on_stop() -> None:
        front.is_draining = True
        queue.close(_DRAIN_SECONDS)

    with contextlib.closing(doors[0]):
        _say(f"serving {backbone.name}, {site.mesh.degrees.name}, at {_address(checked, doors[0])}")
        answer_requests(function, site.stop, queue, on_stop, metrics.passed)
        given_up = queue.give_up_all(Draining())
    if given_up:
        _say(f"ended: {given_up} requests were given up after {_DRAIN_SECONDS:.0f} s")
    else:
        _say("ended: what was asked was answered, the rest was refused")


def _sentences(backbone: Backbone) -> list[tuple[int, ...]]:
    return [tuple(backbone.tokens.start(text)) for text in _SENTENCES]


def _planned(backbone: Backbone) -> Planned:
    """A long life, and rows like those that are asked for most."""
    rows = _rows(backbone, text=0)
    return Planned(rows, num_slots=_SLOTS, trained=_LONG, asked=_LONG)


def _rows(backbone: Backbone, *, text: int) -> list[Example]:
    """Rows of other words each, as far as there are words, behind a text of so many tokens."""
    length = text + _LENGTH
    slots = (*[NO_SLOT] * text, *range(_SLOTS), *[NO_SLOT] * (_LENGTH - _SLOTS))
    ids = [number % backbone.vocab_size for number in range(_ROWS * length)]
    return [
        Example(0, tuple(ids[start : start + length]), slots, (length - 1,), (ids[start],))
        for start in range(0, len(ids), length)
    ]


def _compile(
    function: PromptFunction, backbone: Backbone, pass_tokens: int, stop: StopSignal
) -> None:
    """Make one pass of each kind, so that nobody's first request waits for the compiler.

    The compiler tells a single line of tokens from several, a pass with gradients from one without,
    and rows that begin with their slots from those behind a little text and behind a kept one.

    Raises:
        Stopped: the server was told to end.
    """
    prompts = torch.zeros(1, _SLOTS, backbone.hidden_size)
    for text in (0, _LENGTH // 2, _TEXT) if function.has_cache else (0, _LENGTH // 2):
        rows = _rows(backbone, text=text)[: max(2, pass_tokens // (text + _LENGTH))]
        for few in (rows, rows[:1]):
            batch = collate(few)
            function.loss_and_gradient(batch, prompts, mean_cross_entropy)
            stop.check()
            function.top(batch, prompts, 1)
            stop.check()


def _front(
    checked: CheckedServer, function: PromptFunction, site: Site, queue: Queue, metrics: Metrics
) -> Front:
    description = Description.of(
        checked.backbone, site.mesh.degrees.name, function.has_cache, checked.limits
    )
    access, capacity = Access(checked.people), checked.config.capacity
    return Front(description, checked.backbone, access, capacity, queue, metrics)


def _open(front: Front, checked: CheckedServer) -> Door:
    config = checked.config
    door = Door(front.app, config.address.host, config.address.port, config.capacity.connections)
    door.open()
    return door


def _address(checked: CheckedServer, door: Door) -> str:
    host = checked.config.address.host
    return f"http://{f'[{host}]' if ':' in host else host}:{door.port}"


def _say(line: str) -> None:
    print(line, flush=True)
