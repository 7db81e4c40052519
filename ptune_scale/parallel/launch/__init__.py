"""From one command to exactly the ranks that were asked for, and their end.

relaunch.py agent.py start.py   a command becomes ranks; DeepSpeed is started
store.py                        where ranks find each other
guard.py lifeline.py            one line from the first moment on; ranks end with their launcher
speaker.py                      who says why a job ended
contact.py stop.py              a rank lost; signals, agreed between ranks
"""
