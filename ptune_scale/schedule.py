"""The learning rate as a function of how often an encoder was trained."""

from ptune_scale.config import TrainConfig

_DECAY_PER_EPOCH = 0.98


def learning_rate(config: TrainConfig, visits: int, budget: int, visits_per_epoch: float) -> float:
    """Learning rate of the next update.

    Args:
        visits: updates made so far, counted in visits to the encoder's relations.
        budget: visits planned in all.
        visits_per_epoch: visits that make up one pass over the relations' facts.
    """
    progress = min(1.0, visits / max(1, budget))
    if config.warmup and progress < config.warmup:
        return config.lr * (visits + 1) / (config.warmup * budget + 1)
    if config.schedule == "linear":
        return config.lr * (1 - progress) / (1 - config.warmup)
    if config.schedule == "exponential":
        return config.lr * _DECAY_PER_EPOCH ** int(visits / visits_per_epoch)
    return config.lr
