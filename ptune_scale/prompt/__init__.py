"""What trains: the prompt encoder, and the bank of all tasks' prompts.

encoder.py  LSTM, MLP or nothing between free vectors and prompt embeddings
bank.py     the prompts of all tasks, and the prompt matrix P that they yield
kinds.py    the names of these choices, without a library behind them
"""
