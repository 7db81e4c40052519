"""From a command line to an exit status, whatever the job.

main.py     the commands of ``ptune``
settle.py   a command line, a --config file and a run to go on with -> a configuration
config.py   the settings that commands share
command.py  parse, check, start the ranks, run; every end is one line and an exit status
site.py     where a job runs: its ranks, and the directory that it has to itself
told.py     run.json: what a run was told
alone.py    commands without ranks
check.py    what can be found wrong with a model in a layout before ranks meet
speed.py    how the forward pass is computed, by what is fastest here
self_check.py whether it computes what the model's library does
findings.py what was found out by trying, kept
convert.py  the command that converts Megatron checkpoints
"""
