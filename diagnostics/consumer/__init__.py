"""The diagnostics process of a run: takes events, runs diagnostics, writes ``results.json``.

The consumer itself is light and runs no foreign code; the diagnostics run in a worker process of
its own, which it can kill when one hangs.
"""
