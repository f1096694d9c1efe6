"""How a lane uses the protocol, the SDK and its own functions, and by which aids a person can see that it is one."""
