"""What a strategy costs in quality: its log-probabilities beside those of the exact reference.

Numpy and pure Python: knows rows of log-probabilities, tokens and draws; nothing of engines,
studies or records' files.
"""
