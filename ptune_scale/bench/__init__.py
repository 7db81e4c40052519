"""How fast P-tuning is, beside other ways of doing the same: one process, sides in turn.

config.py     what can be asked for
case.py       what all sides train on; a job of ours for it
ablations.py  ours with something switched off: name -> flags
feed.py       the facts that ours takes next, for the other sides
sides/        the ways that are compared
work.py       tokens that a side has to compute
flops.py      from tokens to floating point operations
matmul.py     the rate of bare matrix products, measured in turn with the sides
rounds.py     rounds of all sides in turn, timed
spread.py     medians and ratios over rounds
summary.py    what the rounds say about each side
comparison.py sides measured in turn on one case
memory.py     resident memory of a process; memory_worker.py: of one side in a process of its own
synthetic.py  facts whose subjects have a given number of tokens
sections/     what is varied: nothing (main), batch, length, relations, ...
job_process.py the LAMA job as a process of its own, for sections that time whole jobs
machine.py    what it ran on
tables.py     Markdown tables
report.py     bench.json and bench.md; plot.py: bench.png
cli.py        from a command line to files
"""
