"""The commands: each reads its options, asks the analysis, and hands the answer to a report."""
