#!/usr/bin/env python3
"""Random queries over random lines that six stores keep in different ways, many more than in the ordinary suites.
usage: test_answers_full.py [ROUNDS [QUERIES [SEED]]]"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import harness

if __name__ == "__main__":
    arguments = sys.argv[1:] or ["30", "800", "1000"]
    sys.exit(subprocess.run([os.path.join(harness.BUILD, "tests", "answers_test_answers"), *arguments]).returncode)
