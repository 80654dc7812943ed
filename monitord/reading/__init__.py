"""From the files of a run to float arrays: tolerant, incremental, nothing read twice."""
