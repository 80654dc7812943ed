"""Drawing: from `monitord.series.RunSeries` to PNG, SVG and PDF files, never with pyplot.

Importing this package costs nothing; matplotlib comes in with `sheet`, `panel` and `canvas`.
"""
