"""The agent's command line."""

from __future__ import annotations

import sys


def main() -> int:
    """Say that there is nothing to run yet."""
    print("reference-agent: not built yet", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
