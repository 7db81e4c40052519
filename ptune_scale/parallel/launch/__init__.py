"""From one command to exactly the ranks that were asked for, and their end.

relaunch.py start.py        a command becomes ranks; DeepSpeed is started
agent.py lifeline.py        torchrun without a report of its own; ranks end with their launcher
contact.py stop.py          a rank lost; signals, agreed between ranks
"""
