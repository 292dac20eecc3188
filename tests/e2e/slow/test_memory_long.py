"""test_memory.py with 100,000 streams and a minute of load."""
import os
import sys

os.environ.setdefault("LOGQ_STREAMS", "100000")
os.environ.setdefault("LOGQ_SECONDS", "60")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import test_memory  # noqa: E402

test_memory.main()
