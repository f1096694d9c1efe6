"""The outputs: each module turns the map or the findings into one format and decides nothing."""
