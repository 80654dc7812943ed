"""Which runs there are and which have changed: events as hints, sweeps as the truth."""
