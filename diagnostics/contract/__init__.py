"""What the programs share: events, results, journal, wire, atomic files, locks.

Standard library, NumPy, msgspec only, so that every package may import it (docs/architecture.md).
"""
