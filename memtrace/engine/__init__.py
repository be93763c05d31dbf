"""The engine: it finds a policy by name, compiles the replay loop for it, and replays traces with that loop.

It calls a policy only through the contract. It reads prepared traces, so it knows no file format, and it returns what was
recorded, so it knows no measure, no table and no figure.
"""
