"""Scalars for TensorBoard, in a file of events."""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from ptune_scale.trackers.tracker import Tracker, Training

_SECONDS_BETWEEN_FLUSHES = 10.0
_files = itertools.count()


class _Events:
    """Writes in the thread that trains: that of TensorBoard's own writer answers a disk that is
    full with a traceback."""

    def __init__(self, training: Training) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._make_event, self._make_summary = Event, Summary
        directory = training.directory / "tensorboard"
        directory.mkdir(parents=True, exist_ok=True)
        who = f"{socket.gethostname()}.{os.getpid()}.{next(_files)}"
        name = f"events.out.tfevents.{int(time.time())}.{who}"
        self._stream = (directory / name).open("xb")
        self._records = RecordWriter(self._stream)
        self._flushed = 0.0
        self._write(file_version="brain.Event:2")
        # Those who read it forget what they have of this step and later ones.
        self._write(step=training.first_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, values: Mapping[str, float], step: int) -> None:
        pairs = [
            self._make_summary.Value(tag=name, simple_value=value) for name, value in values.items()
        ]
        self._write(step=step, summary=self._make_summary(value=pairs))

    def close(self) -> None:
        self._stream.close()

    def _write(self, **event: Any) -> None:
        self._records.write(self._make_event(wall_time=time.time(), **event).SerializeToString())
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self._stream.flush()
            self._flushed = time.monotonic()


TENSORBOARD = Tracker("tensorboard", "tensorboard/, for tensorboard --logdir", _Events)
