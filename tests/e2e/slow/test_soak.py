#!/usr/bin/env python3
"""Ten minutes of the soak of soak.py, or as many seconds as the argument says."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import harness  # noqa: E402
import soak  # noqa: E402

if __name__ == "__main__":
    soak.soak(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
    harness.done()
