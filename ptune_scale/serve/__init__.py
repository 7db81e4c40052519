"""One frozen backbone, many people tuning against it: the command ``serve``.

config.py launcher.py check.py run.py
                       from a command line to ranks that answer
ranks.py together.py   the ranks' loop; requests of several people in one pass
queue.py ticket.py     what waits, fair between people, and never without end
front.py bodies.py workers.py
                       what is said over HTTP; bodies as they arrive, and work on them
door.py                connections that are slow or too many
access.py metrics.py   who may ask, and how much; what is counted
texts.py               texts that clients may name

Requests are checked before they reach a rank. What they look like: ``parallel.remote``.
"""
