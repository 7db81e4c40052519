"""A backbone that is somewhere else: what crosses the network, and the side that asks.

message.py             bodies: safetensors, whose metadata hold a small header; versioned
rows.py asked.py request.py reply.py
                       a batch, what is asked of it, both with P, and what is found: encoded,
                       decoded, checked
texts.py               beginnings of rows that were sent before, by name
description.py         what a server says of its model
parts.py               a large request in several
client.py              requests to one of several servers, again until one answers
backbone.py function.py
                       the model as the rest of the system knows it, without its weights; the waist

The other side is in ``serve``.
"""
