"""A backbone that is somewhere else: what crosses the network, and the side that asks.

message.py             bodies: safetensors, whose metadata hold a small header; versioned
rows.py asked.py request.py
                       a batch, what is asked of it, and both with P: encoded, decoded, checked
description.py         what a server says of its model
client.py              requests to one of several servers, again until one answers
backbone.py function.py
                       the model as the rest of the system knows it, without its weights; the waist

The other side is in ``serve``.
"""
