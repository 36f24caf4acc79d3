"""A reader that has had enough ends nothing."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from bench.outlasting import outlasting
with outlasting():
    for line in range(100_000):
        print(line)
    print("and this", file=sys.stderr)
    print(sys.stdout.encoding)
    open(sys.argv[1], "w").write("all done")
sys.exit(3)
"""


@pytest.mark.parametrize("both", [False, True])
def test_the_work_goes_on_and_keeps_its_exit_status(tmp_path, both):
    out, pipe = tmp_path / "out", subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, str(out)]
    process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT if both else pipe, text=True)
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 3 and out.read_text() == "all done"
    assert both or process.stderr.read() == "and this\n"
