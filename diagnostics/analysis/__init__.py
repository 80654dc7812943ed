"""Full analysis of saved weights: see docs/analysis.md."""
