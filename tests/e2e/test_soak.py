#!/usr/bin/env python3
"""The soak of soak.py for 20 seconds, or for as many as the argument says; the long one is slow/test_soak.py."""
import sys

import harness
import soak

if __name__ == "__main__":
    soak.soak(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    harness.done()
