"""What runs inside the process of a certified agent: the standard library alone, on any Python from 3.9 on."""
