"""The gate before ``response.create``: what is asked, marked, set and cleared around it, read as control flow."""
