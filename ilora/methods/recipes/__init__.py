"""The methods, family by family: which ingredient each takes for each stage, and where its formulas come from; no torch."""
