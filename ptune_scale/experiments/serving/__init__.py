"""A server under several clients at once, beside local jobs that do the same work.

cli.py      from a command line to a table
measure.py  the jobs and the server
cores.py    where they run
latency.py  how long requests take
task_lists.py  jobs of few tasks and of very many
"""
