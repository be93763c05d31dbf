"""The results of replays as tables: what is gathered of each placement, the columns, the folder, and the verdict in words.

``running`` replays the traces of a run through its policies, in one process or several. Nothing here draws or knows the
command line.
"""
