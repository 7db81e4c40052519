"""What prompts and weights are trained for on a SuperGLUE task."""

from collections.abc import Sequence

from torch import Tensor

from ptune_scale.data.batch import Batch
from ptune_scale.parallel import Objective
from ptune_scale.selection import DevScore
from ptune_scale.superglue.objective import objective_of
from ptune_scale.superglue.predict import Predictions, Predictor
from ptune_scale.superglue.question import Question, collate_questions, questions_of
from ptune_scale.superglue.task import Record


class SuperglueProblem:
    """Questions of one task; scored by the metrics that decide on it.

    Args:
        predictor: asks the model that is trained.
        dev: records to choose the best step on; may be empty.

    Attributes:
        last_found, last_scores: answers to them when they were last scored, and the metrics.
    """

    def __init__(self, predictor: Predictor, dev: Sequence[Record]) -> None:
        self.predictor = predictor
        self.encoder = predictor.encoder
        self.dev = dev
        self._questions = questions_of(self.encoder.encode(dev, "evaluate")) if dev else []
        self.last_found: Predictions | None = None
        self.last_scores: dict[str, float] = {}

    def batch(self, examples: Sequence[Question]) -> tuple[Batch, Objective]:
        asked = collate_questions(examples, self.encoder.tokens.placeholder)
        task = self.encoder.task
        return asked.batch, objective_of(task.answer, self.encoder.word_tokens, asked)

    def has_dev(self, relation: int) -> bool:
        return bool(self.dev)

    def score(self, relations: Sequence[int], prompts: Tensor) -> dict[int, DevScore]:
        """Of the one task that there is; without records, nothing speaks against the last step."""
        task = self.encoder.task
        if not self.dev:
            return {0: DevScore((0.0,) * len(task.deciding), 0)}
        found = self.predictor.predict(self.dev, self._questions, prompts)
        self.last_found = found
        self.last_scores = task.score(self.dev, found.labels)
        values = tuple(self.last_scores[name] for name in task.deciding)
        return {0: DevScore(values, len(self.dev))}

    def predict(self, records: Sequence[Record], prompts: Tensor) -> Predictions:
        """Answers to other records."""
        questions = questions_of(self.encoder.encode(records, "evaluate"))
        return self.predictor.predict(records, questions, prompts)
