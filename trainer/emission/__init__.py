"""Emission: how the events of a run reach the journal and the diagnostics process.

The emitter works in the training thread and costs it a copy and one small write; the courier is
the I/O thread: snapshots, socket, and supervision of the diagnostics process.
"""
