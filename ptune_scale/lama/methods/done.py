"""Results of one relation after another, kept as they are done, so that a stopped run goes on."""

from typing import Any

from ptune_scale.lama.job import LamaJob
from ptune_scale.train import checkpoint


class DoneRelations(dict[str, dict[str, Any]]):
    """What a method has done, by relation; the step of its checkpoint is how many they are.

    All ranks make it and call ``keep`` together.

    Args:
        name: of the method.
        identity: what runs that do the same have in common.

    Raises:
        UserError: the checkpoint to go on from is of another run, or damaged.
    """

    def __init__(self, job: LamaJob, name: str, identity: dict[str, Any]) -> None:
        super().__init__()
        self._job = job
        self._identity = identity
        self._directory = job.output / name / "checkpoint"
        path = job.resume_from.get(name)
        if path is None:
            return

        def read() -> None:
            checkpoint.check_identity(checkpoint.read_meta(path)["identity"], identity, path)
            self.update(checkpoint.load_part(path, "relations"))

        job.world.together(read)
        job.world.on_main(lambda: checkpoint.abandon_after(self._directory, len(self)))

    def keep(self, relation: str, result: dict[str, Any]) -> None:
        """Add what was done for a relation, and write all of it."""
        self[relation] = result
        job = self._job
        parts = {"relations": dict(self)} if job.is_main else {}
        flags = job.config.as_flags()
        checkpoint.save(self._directory, len(self), parts, self._identity, flags, world=job.world)
