"""Reads the log of a call line by line and says whether it shows one clean pipeline."""
