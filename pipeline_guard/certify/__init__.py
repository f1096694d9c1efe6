"""Proof that an agent keeps the contract: simulated peers, a model of the server, and a search through all orders."""
