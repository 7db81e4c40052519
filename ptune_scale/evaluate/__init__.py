"""How good tuned prompts are: by our own metrics, and in lm-evaluation-harness.

config.py launcher.py   ``eval``: from a command line to a job
own.py                  metrics over a file of records
harness.py              the harness's model ``ptune_scale``: any of its tasks over a tuned prompt
harness_run.py          tasks of the harness in a job, in any layout
asked.py                how a prompt, or an export of it, words what the tasks below ask
harness_tasks/          LAMA's P@1 and SuperGLUE's CB and RTE as tasks of the harness
__main__.py             the harness's own command line, which then knows all of these
"""
