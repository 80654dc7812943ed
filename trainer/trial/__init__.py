"""``python -m trainer.trial``: one training process that measures what it is asked to.

The profiler's other half. It reads one JSON request a line from standard input and writes one JSON
reply a line to standard output; the schema is `diagnostics.contract.trials`. It drives the
trainer's own functions (`take_step`, `evaluate`, `SignalSource`), makes no experiment folder,
writes no file, and ends when its standard input does. Units: seconds and bytes.
"""
