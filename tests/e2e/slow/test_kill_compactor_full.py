#!/usr/bin/env python3
"""test_kill_compactor.py with 200 kills; takes some minutes."""
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ.setdefault("KILLS", "200")
sys.path.insert(0, os.path.dirname(HERE))
runpy.run_path(os.path.join(os.path.dirname(HERE), "test_kill_compactor.py"), run_name="__main__")
