#!/usr/bin/env python3
"""The shipper with 100 kills and 20 rotations: see ../test_ship.py."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.exit(subprocess.call([sys.executable, os.path.join(HERE, "..", "test_ship.py")], env=dict(os.environ, KILLS="100", ROTATIONS="20")))
