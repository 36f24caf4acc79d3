"""The benchmarks' own arithmetic. What they measure is not tested: a test that times something fails on a busy day."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as program
from benchmarks import dcff, turns
from methods.dcff import code


def test_cases_take_turns_after_one_untimed_round():
    said = []
    times = turns.in_turn({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, 2)
    assert said == ["a", "b"] * 3 and [len(found) for found in times.values()] == [2, 2]


def test_a_ratio_is_taken_round_by_round():
    figure = turns.compared("x", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
    assert (figure.ratio, figure.low, figure.high) == (3, 2.5, 3.5)
    assert figure.line() == "| x | 3 | 2.5 to 3.5 |  |  |"


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_formula_that_dcff_is_timed_against_gives_the_same(temperature):
    bank = torch.randn(12, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 3
    p, scores = code(bank, temperature, "reference")
    expected_p, expected = dcff.literal(bank, temperature)
    torch.testing.assert_close(p, expected_p)
    # the authors' 1e-7 stands in another place: in P log P - P log(P + 1e-7) here, under the quotient there
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_memory_is_counted_at_its_highest():
    assert 2 * 64 * 64 * 8 < dcff.extra(torch.randn(64, 8, 1, 1)) < 20 * 64 * 64 * 8


def test_a_table_goes_to_its_place(tmp_path):
    document = tmp_path / "p.md"
    document.write_text("before\n<!-- gates -->\nold\n<!-- end of gates -->\nafter\n")
    program._write(document, "gates", r"| new \1 |")
    assert document.read_text() == "before\n<!-- gates -->\n| new \\1 |\n<!-- end of gates -->\nafter\n"
    with pytest.raises(SystemExit, match="no place for dcff"):
        program._write(document, "dcff", "")


def test_every_benchmark_has_its_place_in_the_document():
    text = Path("docs/performance.md").read_text()
    assert [name for name in program.BENCHMARKS if f"<!-- {name} -->" not in text] == []


def test_an_unknown_name_is_answered_with_the_known_ones():
    ended = subprocess.run([sys.executable, "-m", "benchmarks", "traning"], capture_output=True, text=True)
    assert ended.returncode == 2 and "no benchmark is named traning; there are training, " in ended.stderr
