"""Scalars for TensorBoard, in a file of events."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN_FLUSHES = 10.0


class Scalars:
    """TensorBoard scalars; does nothing without a directory.

    The file is written in the thread that trains: that of TensorBoard's own writer answers a disk
    that is full with a traceback. Here it ends the curves, with a line, and not what they show.

    Args:
        purge_step: when resuming, steps from here on are written again and replace the old ones.
    """

    def __init__(self, directory: Path | None, purge_step: int) -> None:
        self._stream: Any = None
        if directory is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._make_event, self._make_summary = Event, Summary
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.0"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._stream = (directory / name).open("xb")
        except OSError as error:
            self._give_up(error)
            return
        self._records = RecordWriter(self._stream)
        self._flushed = 0.0
        self._write(file_version="brain.Event:2")
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write the values of a step, by name."""
        if self._stream is not None:
            pairs = [
                self._make_summary.Value(tag=name, simple_value=value)
                for name, value in values.items()
            ]
            self._write(step=step, summary=self._make_summary(value=pairs))

    def close(self) -> None:
        """Write what is still in memory."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except OSError as error:
                self._give_up(error)

    def _write(self, **event: Any) -> None:
        if self._stream is None:
            return
        try:
            self._records.write(
                self._make_event(wall_time=time.time(), **event).SerializeToString()
            )
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                self._stream.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
        why = f"{error.strerror}: its curves end here"
        print(f"TensorBoard's file cannot be written any more: {why}", file=sys.stderr)
