#!/usr/bin/env python3
"""Lost power in full: a dozen histories, the power failing at each single call of them (more than 10 000 places). The
ordinary suites run a part of the same. usage: test_power_full.py [HISTORIES [SEED]]"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import harness

if __name__ == "__main__":
    arguments = sys.argv[1:] or ["12"]
    sys.exit(subprocess.run([os.path.join(harness.BUILD, "tests", "sim_test_power"), *arguments]).returncode)
