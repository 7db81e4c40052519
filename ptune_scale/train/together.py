"""A step of several trainers at once: one pass of the frozen side serves them all.

Each trains one task and knows nothing of the others, so that what becomes of a task does not depend
on its company, nor on when it came.

Shapes: R trainers, S prompt slots, H embedding size.
"""

from collections.abc import Mapping

from ptune_scale.errors import UserError
from ptune_scale.parallel import PromptFunction, Unanswerable
from ptune_scale.task.asking import Panels
from ptune_scale.train.trainer import Diverged, StepResult, Trainer, loss_and_gradient


def step_together(
    function: PromptFunction, panels: Panels, trainers: Mapping[int, Trainer]
) -> dict[int, StepResult | UserError]:
    """Let each trainer make its next step.

    Args:
        panels: of their tasks, whose indices are the numbers of their trainers.
        trainers: each of one task, and not at its end.

    Returns:
        what became of each: of one that cannot go on, why; it was not updated.
    """
    drawn = {number: trainer.draw([0]) for number, trainer in trainers.items()}
    encoded = {number: trainer.encoders.encode([0]) for number, trainer in trainers.items()}
    slots = max(each.shape[1] for each in encoded.values())
    some = next(iter(encoded.values()))
    prompts = some.new_zeros(max(trainers) + 1, slots, some.shape[2])
    for number, each in encoded.items():
        prompts[number, : each.shape[1]] = each[0].detach()
    questions = [question for each in drawn.values() for question in each]
    try:
        losses, gradient, _ = loss_and_gradient(function, panels.batches(questions), prompts)
        are_fine = bool(losses.isfinite().all()) and bool(gradient.isfinite().all())
    except Unanswerable as error:
        if len(trainers) == 1:
            return dict.fromkeys(trainers, error)
        are_fine = False
    if not are_fine and len(trainers) > 1:
        # Numbers that overflow may spoil those of rows beside them.
        alone = (step_together(function, panels, {n: each}) for n, each in trainers.items())
        return {number: found for each in alone for number, found in each.items()}
    results: dict[int, StepResult | UserError] = {}
    for number, trainer in trainers.items():
        own = encoded[number]
        try:
            result = trainer.learn(
                [0],
                own,
                losses[number : number + 1],
                gradient[number : number + 1, : own.shape[1]],
                records=len(drawn[number]),
                tokens=sum(len(row.ids) for each in drawn[number] for row in each.rows),
            )
        except Diverged as error:
            results[number] = error
        else:
            assert result is not None  # nothing competes
            results[number] = result
    return results
