"""The page in a real browser, where Chromium and Playwright are installed; what it holds, anywhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import make_history, make_latency, make_record, make_trial, save, save_failure, save_latency

import leaderboards
from leaderboards.page import SCRIPTS

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for keep in (0.7, 0.5):
        for name, lead in (("l1", 0.0), ("dcff", 0.5), (HOSTILE, 1.0)):
            for seed in range(3):
                trial = make_trial(name, seed, keep)
                record = make_record(trial, 90 + seed / 10 + lead, int(4e7 * keep), history=make_history(250, 90.0))
                save(folder, record)
                save_latency(folder, make_latency(record, ms=2 * keep + seed / 10, name=HOSTILE))
    for name, top1 in (("l1", 90.0), ("fpgm", 89.0), ("taylor", 88.0), ("lamp", 87.0), ("sfp", 14.2)):
        save(folder, make_record(make_trial(name, track="paper"), top1))
    (folder / "suite.yaml").write_text("name: tiny\nmethods:\n  - l1\n  - dcff: {}\n")
    save_failure(folder, make_trial("random", keep=0.5), HOSTILE)
    leaderboards.report(folder, folder / "report")
    return folder


def test_everything_is_inside(folder: Path) -> None:
    text = (folder / "report" / "index.html").read_text()
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']?(https?:)?//""", text)
    assert text.count("</script>") == 1 + len(SCRIPTS) and HOSTILE not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert [board["title"] for board in data] == [
        "cifar10, cifar_resnet20, matched track", "cifar10, cifar_resnet20, paper track",
    ]  # fmt: skip


def test_details_hold_thinned_curves_and_links(folder: Path) -> None:
    text = (folder / "report" / "data" / "cifar10-cifar-resnet20-matched-track.js").read_text()
    name, rows = json.loads("[" + text.removeprefix("details(").removesuffix(");\n") + "]")
    assert name == "cifar10-cifar-resnet20-matched-track"
    runs = [run for row in rows for run in row["runs"]]
    assert len(runs) == 18 and all((folder / "report" / run["href"]).is_file() for run in runs)
    assert len(runs[0]["curve"]["epochs"]) == 100 and runs[0]["curve"]["epochs"][-1] == 250


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_in_a_browser(browser: Any, folder: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if "://" in request.url[7:] else None)
    page.goto((folder / "report" / "index.html").as_uri())
    board = page.locator("#cifar10-cifar-resnet20-matched-track")

    def column(name: str) -> list[str]:
        return [
            text.strip()
            for text in board.locator(f"> .table .tabulator-cell[tabulator-field={name}]").all_inner_texts()
        ]

    assert len(column("method")) == 7 and HOSTILE in column("method")
    assert board.locator(".incomplete").all_inner_texts() == [f"Failed ({HOSTILE}): random at 50 % (seed 0)."]
    board.locator(".tabulator-col[tabulator-field=top1]").first.click()
    assert column("top1")[0].startswith("91.10") and column("top1")[-1] == "failed"
    board.locator(".tabulator-col[tabulator-field=top1]").first.click()
    assert column("top1")[0].startswith("90.10") and column("top1")[-1] == "failed"
    assert "MACs kept (%)" in board.locator(".plot svg").text_content()
    board.locator(".against select").select_option("latency at batch 64")
    assert (
        f"Latency of a batch of 64 (% of the dense network's), on {HOSTILE}"
        in board.locator(".plot svg").text_content()
    )
    paper = page.locator("#cifar10-cifar-resnet20-paper-track")
    board.locator(".against select").select_option("parameters")
    assert "Parameters (millions)" in board.locator(".plot svg").text_content()
    assert paper.locator(".against option").all_inner_texts() == ["MACs", "parameters"]
    ticks = paper.locator(".plot [aria-label='y-axis tick label'] text").all_text_contents()
    assert "14.20 ↓" in paper.locator(".plot svg").text_content() and min(map(float, ticks)) >= 65
    board.locator("[data-filter=text]").fill("DCFF")
    assert column("method") == ["dcff", "dcff"] and board.locator("output").inner_text() == "2 of 7 rows"
    board.locator("[data-filter=point]").select_option("50 %")
    assert column("method") == ["dcff"]
    board.locator("> .table .tabulator-row").first.press("Enter")
    link = board.locator(".detail a").first
    link.wait_for()
    suite = board.locator(".detail a.suite")
    assert suite.inner_text() == "suite.yaml, line 4" and suite.get_attribute("href") == "../suite.yaml#L4"
    assert board.locator(".detail pre").inner_text() == "- dcff: {}"
    assert (
        f"prunebench run tiny.yaml --only {link.inner_text()} --seeds 0"
        in board.locator(".detail li").first.inner_text()
    )
    assert board.locator(".detail svg").count() >= 3
    assert page.url.endswith("#cifar10-cifar-resnet20-matched-track/dcff/50%20%25")
    page.reload()  # as one who is sent the link
    link.wait_for()
    assert board.locator(".detail h3").first.inner_text() == "dcff, 50 %"
    assert (
        board.locator(".detail .chart rect[fill='#0072B2']").count()
        + board.locator(".detail .chart g[fill='#0072B2'] rect").count()
        >= 1
    )  # DCFF's own colour
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("location.hash = '#%'")
    page.reload()  # by an address that is none of ours
    board.locator("> .table .tabulator-row").first.press("Enter")
    link.wait_for()
    with page.expect_navigation():
        link.click()
    assert page.url.endswith("record.json")
    assert trouble == []
    page.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_long_names_leave_room_for_the_figures(browser: Any, tmp_path: Path, width: int) -> None:
    save(tmp_path, make_record(make_trial("x" * 300)), make_record(make_trial("a name of many words " * 12)))
    leaderboards.report(tmp_path, tmp_path / "report")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((tmp_path / "report" / "index.html").as_uri())
    page.locator(".tabulator-col[tabulator-field=top1]").click(timeout=5000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_by_keyboard_alone(browser: Any, folder: Path) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto((folder / "report" / "index.html").as_uri())
    board = page.locator("#cifar10-cifar-resnet20-matched-track")
    head = board.locator(".tabulator-col[tabulator-field=top1]").first
    for key, first in (("Enter", "91.10"), (" ", "90.10")):
        head.press(key)
        assert board.locator(".tabulator-cell[tabulator-field=top1]").first.inner_text().startswith(first)
    row = board.locator("> .table .tabulator-row").first
    row.press(" ")
    board.locator(".detail a").first.wait_for()
    assert page.evaluate("document.activeElement.className") == "detail"
    board.locator(".detail button").press("Enter")
    assert board.locator(".detail").is_hidden() and "tabulator-row" in page.evaluate("document.activeElement.className")
    page.evaluate(
        "location.hash = '#cifar10-cifar-resnet20-matched-track/l1/70%20%25'"
    )  # a link to a row, on this page
    board.locator(".detail a").first.wait_for()
    assert board.locator(".detail h3").first.inner_text() == "l1, 70 %"
    page.close()
