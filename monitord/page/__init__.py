"""The page: every run, live, in a browser, through one port of this machine.

Nothing here is imported unless ``--serve`` is given.
"""
