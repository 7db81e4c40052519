"""Learning prompts, and weights where a method trains them.

trainer.py finetune.py       the loops: prompts alone; a copy of the backbone
together.py                  a step of several trainers at once
problem.py trainable.py      what is minimized and scored; what is stepped
config.py schedule.py order.py   settings, learning rate and budgets, which records come when
selection.py                 early stopping and the best prompt
checkpoint.py session.py     what a run goes on from; progress, saving and stopping around a trainer
"""
