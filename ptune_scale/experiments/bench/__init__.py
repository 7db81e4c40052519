"""How fast P-tuning is, beside other ways of doing the same: one process, sides in turn.

config.py   what can be asked for
case.py     what all sides train on; a trainer of ours for it
feed.py     the records that ours takes next, for the other sides
sides.py    the ways that are compared; peft_way.py, reference_way.py
rounds.py   rounds of all sides in turn, timed, and what they say about each side
memory.py   peak memory of one side, in a process of its own
texts.py    long texts, and where slots stand
asking.py   ways of answering that are compared
quality.py  what PEFT answers after so much time: facts; few_shot.py SuperGLUE, by peft_prompt.py
machine.py  what it ran on
sections.py main (facts, texts, answers), ablations, ranks (ranks.py), cuda, quality, few_shot
report.py   bench.json, bench.md and bench.png
"""
