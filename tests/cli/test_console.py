"""Standard output holds answers and nothing else."""

import subprocess
import sys

NOISY = """
import os
from studio.console import keep_output_for_answers, out
keep_output_for_answers()
os.write(1, b"a library's own words\\n")
out.print("the answer")
"""


def test_what_a_library_prints_on_its_own_goes_to_standard_error():
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert done.stdout == "the answer\n"
    assert "a library's own words" in done.stderr
