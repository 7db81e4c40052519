"""What ``serve`` can be told; imports nothing heavy."""

from collections.abc import Iterator
from dataclasses import dataclass

from ptune_scale.flags import flag
from ptune_scale.run.config import ModelConfig, ParallelConfig, RanksConfig

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class AddressConfig:
    """the address"""

    host: str = flag(
        "127.0.0.1", "address to listen at; any but this one needs --tokens", common=True
    )
    port: int = flag(8000, "port to listen at; 0: any that is free", common=True, at_least=0)
    tokens: str = flag(
        "",
        "TOML file of who may ask: a table for each, as [alice], with token = '...' and, if "
        "wanted, requests_per_minute and request_tokens; nobody else may read the file",
        common=True,
    )


@dataclass(frozen=True, kw_only=True)
class CapacityConfig:
    """how much at a time"""

    pass_tokens: int = flag(
        16384,
        "most tokens of a pass over all ranks, padding counted, of all requests in it",
        common=True,
        at_least=16,
    )
    pass_targets: int = flag(
        2048, "most targets of a pass: the logits of all of them are in memory", at_least=1
    )
    patience_ms: float = flag(
        4.0,
        "how long a request waits for jobs that asked lately to share its pass, where nothing "
        "else is to do",
        at_least=0,
    )
    request_tokens: int = flag(
        262144, "most tokens of a request, those to be written among them", at_least=16
    )
    written_tokens: int = flag(
        256, "most tokens written behind a row: others wait until a pass is done", at_least=1
    )
    request_mib: int = flag(64, "most MiB of a request's body", at_least=1)
    request_seconds: float = flag(
        600.0, "a request that was not answered by then is given up", positive=True
    )
    body_seconds: float = flag(
        30.0, "a request that has not arrived by then is given up", positive=True
    )
    queue_requests: int = flag(256, "requests that may wait; others are sent away", at_least=1)
    queue_mib: int = flag(1024, "most MiB that these may hold", at_least=1)
    queue_share: int = flag(32, "of these, how many may be of one client", at_least=1)
    text_mib: int = flag(
        64, "most MiB of texts that clients may name instead of sending them again", at_least=1
    )
    connections: int = flag(1024, "most connections", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ServeConfig(RanksConfig):
    """Everything that a server can be told."""

    address: AddressConfig = AddressConfig()
    model: ModelConfig = ModelConfig()
    parallel: ParallelConfig = ParallelConfig()
    capacity: CapacityConfig = CapacityConfig()

    def contradictions(self) -> Iterator[str]:
        address = self.address
        if address.host not in _LOOPBACK and not address.tokens:
            yield (
                f"--host {address.host} without --tokens: whoever reaches it could use the model; "
                "give a file of tokens, or listen at 127.0.0.1"
            )
        if address.port >= 2**16:
            yield f"--port must be below {2**16}, got {address.port}"
