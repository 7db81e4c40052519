"""Requests that are not as they should be: seeded, of many kinds."""

import json
import random
import socket
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import torch
from torch import Tensor

from ptune_scale.parallel.remote.message import VERSION, pack, unpack

PATHS = ["/v1/loss", "/v1/ask", "/v1/generate", "/v1/words", "/v1/model", "/healthz", "/nowhere"]
_NUMBERS = [-1, 0, 1, 2, 7, 2**31 - 1, -(2**31), 2**40, 1e308, -1.5, None, True, "x", [], {}, [[]]]
Random = random.Random


@dataclass(frozen=True)
class Outcome:
    """What a request came to: a status and what was said, or 0 for a closed connection."""

    what: str
    status: int
    said: str


def mutated(body: bytes, chance: Random) -> tuple[str, bytes]:
    """A body with something wrong in it; by chance it may still be right."""
    return chance.choice([_bytes, _cut, _header, _header, _tensor, _tensor, _tensor])(body, chance)


def _bytes(body: bytes, chance: Random) -> tuple[str, bytes]:
    changed = bytearray(body)
    for _ in range(chance.choice([1, 4, 64])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return "bytes", bytes(changed)


def _cut(body: bytes, chance: Random) -> tuple[str, bytes]:
    kind = chance.randrange(5)
    if kind == 0:
        return "empty", b""
    if kind == 1:
        return "noise", chance.randbytes(chance.randrange(1, 4096))
    if kind == 2:
        return "longer", body + chance.randbytes(9)
    if kind == 3:
        return "huge header", struct.pack("<Q", chance.choice([2**63, 2**40, len(body)])) + body[8:]
    return "cut", body[: chance.randrange(len(body))]


def _header(body: bytes, chance: Random) -> tuple[str, bytes]:
    header, tensors = unpack(body)
    name = chance.choice([*header, "version", "kind", "asked", "group_size"])
    if chance.random() < 0.2:
        header.pop(name, None)
        return f"header without {name}", _packed(header, tensors)
    value: Any = chance.choice(_NUMBERS)
    if chance.random() < 0.1:
        value = json.loads("[" * 150 + "]" * 150)
    header[name] = value
    return f"header {name}={value!r:.20}", _packed(header, tensors)


def _tensor(body: bytes, chance: Random) -> tuple[str, bytes]:
    header, tensors = unpack(body)
    name = chance.choice(list(tensors))
    tensors[name] = _spoiled(tensors[name], chance)
    return f"tensor {name} {tensors[name].dtype} {tuple(tensors[name].shape)}", _packed(
        header, tensors
    )


def _spoiled(tensor: Tensor, chance: Random) -> Tensor:
    kind = chance.randrange(8)
    if kind == 0:
        return tensor.flatten()[:-1]
    if kind == 1:
        return torch.cat([tensor, tensor])
    if kind == 2:
        return tensor.to(chance.choice([torch.float64, torch.int64, torch.uint8, torch.bfloat16]))
    if kind == 3:
        return tensor.new_zeros(chance.choice([(0,), (1,), (0, 3, 32), (2**40, 0, 32), (9, 0)]))
    if kind == 4:
        return tensor.unsqueeze(0)
    changed = tensor.clone().flatten()
    if changed.numel():
        place = chance.randrange(changed.numel())
        if tensor.is_floating_point():
            changed[place] = chance.choice([float("nan"), float("inf"), -1e38, 1e4])
        else:
            most = torch.iinfo(tensor.dtype).max if tensor.dtype != torch.bool else 1
            changed[place] = chance.choice([0, 1, most, most // 2, min(most, 400)])
    return changed.view(tensor.shape)


def _packed(header: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    version = header.pop("version", None)
    body = pack(header, tensors)
    if version == VERSION:
        return body
    size = int.from_bytes(body[:8], "little")
    text = body[8 : 8 + size].replace(
        f'\\"version\\": {VERSION}'.encode(), f'\\"version\\": {version}'.encode()
    )
    return len(text).to_bytes(8, "little") + text + body[8 + size :]


def raw(url: str, body: bytes, chance: Random) -> Outcome:
    """Something that is hardly HTTP, said by hand; the connection is closed by this side."""
    place = urlsplit(url)
    length = len(body)
    head = "POST /v1/loss HTTP/1.1\r\nHost: x\r\n"
    texts: list[tuple[str, bytes]] = [
        ("no request", b"\x16\x03\x01" + chance.randbytes(64)),
        ("half a header", head.encode()),
        ("half a body", f"{head}Content-Length: {length}\r\n\r\n".encode() + body[: length // 2]),
        ("a body too long", f"{head}Content-Length: {length // 2}\r\n\r\n".encode() + body),
        ("no length", f"{head}\r\n".encode() + body),
        (
            "chunks",
            f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"5\r\nhello\r\n0\r\n\r\n",
        ),
        ("a huge length", f"{head}Content-Length: {2**50}\r\n\r\n".encode()),
        ("a wrong length", f"{head}Content-Length: -5\r\n\r\n".encode()),
        ("two lengths", f"{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello".encode()),
        ("a long line", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"),
        ("many headers", head.encode() + b"a: b\r\n" * 20_000 + b"\r\n"),
    ]
    what, text = chance.choice(texts)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        try:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while part := connection.recv(65536):
                said += part
        except (ConnectionError, BrokenPipeError):
            said = b""
    first = said.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    status = int(first[1]) if len(first) > 1 and first[1].isdecimal() else 0
    return Outcome(what, status, said[-200:].decode("latin-1"))


def attack(url: str, bodies: list[tuple[str, bytes]], chance: Random) -> Outcome:
    """One hostile request.

    Args:
        bodies: good ones, with their paths.
    """
    path, body = chance.choice(bodies)
    if chance.random() < 0.2:
        return raw(url, body, chance)
    what, body = mutated(body, chance)
    if chance.random() < 0.1:
        path = chance.choice(PATHS)
    method = "POST" if chance.random() < 0.95 else chance.choice(["GET", "PUT", "DELETE", "HEAD"])
    try:
        response = httpx2.request(method, url + path, content=body, timeout=60, trust_env=False)
    except httpx2.TransportError as error:
        return Outcome(what, 0, str(error))
    return Outcome(f"{method} {path} {what}", response.status_code, response.text[:200])
