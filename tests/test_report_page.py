"""The report page: made by the real command, opened from disk in a real Chromium."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from onnx import helper
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from lsuv_cli.report import page as records
from lsuv_cli.report.columns import Holds, Tone, number_column, text_column
from lsuv_cli.report.html import render_page
from support.command import COMMAND, UNMEASURED, Run
from support.graphs import random_weight, save_graph

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")

DESK = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}

# Names come from model files, which may come from anywhere.
SCRIPT = "</script><img src=x onerror=\"document.title='taken'\">"
STYLE = "</style><style>body{display:none}</style>\"'&lt;{{ 7 * 7 }}"
TURNED = "a\u202eb\nc $x^2$ \x07" + "long/" * 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Expected:
    """Contents that the page of a run on FitNet-4 must show.

    Attributes:
        path: the page.
        curves: of its first chart.
        point: what one of its markers says.
        numbers: a column of numbers.
        histograms: how many.
    """

    path: Path
    curves: int
    point: str
    numbers: str
    histograms: int


@pytest.fixture(scope="module")
def reports(
    sample_models: Callable[[str], Path], images: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Expected]:
    """The pages of real runs on photographs."""
    folder = tmp_path_factory.mktemp("report")
    model = sample_models("fitnet4")
    samples = ["--data", str(images / "photos"), "--samples", "32", "--preset", "imagenet"]

    def run(command: str, *more: str) -> Path:
        page = f"{command}.html"
        arguments = [command, str(model), *more, *samples, "--report", page]
        subprocess.run([COMMAND, *arguments], cwd=folder, check=True)
        return folder / page

    init = run("init", "--out", "init.safetensors")
    verify = run("verify", "init.safetensors", "--tol", "0.2")
    compare = run("compare", "--inits", "lsuv,he", "--no-backward")
    return {
        "init": Expected(init, 2, "conv1, after: 1", "var before", 19),
        "verify": Expected(verify, 1, "conv1, measured: 1", "saturated", 19),
        "compare": Expected(compare, 2, "conv1, lsuv: 1", "he forward", 0),
    }


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a model of hostile names, whose second layer has no variance, and its data."""
    sizes = {"a": (4, 8), "b": (8, 8), "c": (8, 3)}
    weights = {name: random_weight(*shape) for name, shape in sizes.items()}
    weights["b"][:] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name=SCRIPT),
        helper.make_node("MatMul", ["h", "b"], ["i"], name=STYLE),
        helper.make_node("MatMul", ["i", "c"], ["y"], name=TURNED),
    ]
    save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 4])
    np.savez(tmp_path / "x.npz", x=random_weight(64, 4))
    return tmp_path


ARGUMENTS = ("init", "m.onnx", "--data", "x.npz", "--out", "w.safetensors")


def opened(browser: Browser, path: Path, **options: object) -> tuple[Page, list[str]]:
    """A page, and the list of its requests, console messages and errors."""
    page = browser.new_context(**{"viewport": DESK, **options}).new_page()  # type: ignore[arg-type]
    events: list[str] = []
    page.on("console", lambda message: events.append(message.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("request", lambda request: events.append(request.url))
    page.goto(path.as_uri())
    return page, events


def faults(page: Page) -> list[str]:
    """Violations that axe-core calls serious or critical."""
    violations = Axe().run(page).response["violations"]
    return [one["id"] for one in violations if one["impact"] in {"serious", "critical"}]


def column(page: Page, title: str) -> list[str]:
    """The visible cells of a column."""
    titles = [text.strip() for text in page.locator("thead th").all_inner_texts()]
    cells = page.locator(f"tbody tr:visible > :nth-child({titles.index(title) + 1})")
    return [text.strip() for text in cells.all_inner_texts()]


def numbers(texts: list[str]) -> list[float]:
    """The numbers of a column; a dash comes last, whichever way it is sorted."""
    there = [text for text in texts if text != "-"]
    assert texts[len(there) :] == ["-"] * (len(texts) - len(there))
    return [float(text.removesuffix("%")) for text in there]


def header(page: Page, title: str) -> Locator:
    return page.locator("thead th", has=page.get_by_role("button", name=title, exact=True))


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("command", ["init", "verify", "compare"])
def test_opens_from_disk_with_its_plot(
    browser: Browser, reports: dict[str, Expected], command: str, scheme: str
) -> None:
    expected = reports[command]
    page, events = opened(browser, expected.path, color_scheme=scheme)
    assert events == [expected.path.as_uri()]
    plot = page.locator("figure svg:visible")
    assert plot.get_attribute("role") == "img"
    box = plot.bounding_box()
    assert box is not None
    assert box["width"] > 800
    assert box["height"] > 300
    # A point of each curve for each layer, which says where it is.
    points = plot.locator("use > title").all_text_contents()
    assert len(points) == expected.curves * len(column(page, "layer")) == expected.curves * 19
    assert expected.point in points
    assert page.locator(".small svg:visible").count() == expected.histograms
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert faults(page) == []


@needs_chromium
@pytest.mark.parametrize("command", ["init", "verify", "compare"])
def test_the_table_sorts_and_filters(
    browser: Browser, reports: dict[str, Expected], command: str
) -> None:
    expected = reports[command]
    page, _ = opened(browser, expected.path)
    order = column(page, "layer")
    variances = header(page, expected.numbers)
    variances.get_by_role("button").click()
    assert variances.get_attribute("aria-sort") == "ascending"
    ascending = numbers(column(page, expected.numbers))
    assert ascending == sorted(ascending)
    assert column(page, "layer") != order
    # By keyboard: on, round, and to another column.
    page.keyboard.press("Enter")
    assert variances.get_attribute("aria-sort") == "descending"
    assert numbers(column(page, expected.numbers)) == ascending[::-1]
    page.locator("#search").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert header(page, "layer").get_attribute("aria-sort") == "ascending"
    assert variances.get_attribute("aria-sort") is None
    assert column(page, "layer") == order  # conv2 before conv10
    page.locator("#search").fill("GEMM fc")
    assert column(page, "layer") == ["fc1", "fc2"]
    assert page.locator("output").inner_text() == "2 of 19"
    page.locator("#search").fill("")
    assert column(page, "layer") == order


@needs_chromium
@pytest.mark.parametrize("command", ["init", "verify", "compare"])
def test_on_a_phone_on_paper_and_without_script(
    browser: Browser, reports: dict[str, Expected], command: str, tmp_path: Path
) -> None:
    report = reports[command].path
    page, _ = opened(browser, report, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    # A chart keeps its text legible, and scrolls for it.
    chart = page.locator("figure .scroll").first
    box = chart.bounding_box()
    assert box is not None
    assert box["width"] <= PHONE["width"]
    label = chart.locator("svg text", has_text="standard deviation").first.bounding_box()
    assert label is not None
    assert label["width"] > 8  # it stands on end
    chart.focus()
    with page.expect_event("console", lambda message: message.text == "scrolled"):
        chart.evaluate("node => { node.onscroll = () => console.log('scrolled') }")
        page.keyboard.press("ArrowRight")
    assert faults(page) == []
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("#search").is_visible()
    assert page.locator("figure svg:visible").count() == 1
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") in {2, 3}
    plain, events = opened(browser, report, java_script_enabled=False)
    assert events == [report.as_uri()]
    assert len(column(plain, "layer")) == 19
    assert plain.locator("thead button, #search").count() == 0


@needs_chromium
def test_names_are_text_whatever_they_hold(browser: Browser, lsuv: Run, hostile: Path) -> None:
    done = lsuv(*ARGUMENTS, "--report", "r.html", "--exclude", "*style*", "--quiet")
    assert done.returncode == 4, done.stderr
    page, events = opened(browser, hostile / "r.html")
    assert events == [(hostile / "r.html").as_uri()]
    assert page.title() == "LSUV initialisation of m.onnx"
    assert page.locator("img, iframe, object").count() == 0
    names = column(page, "layer")
    assert names[:2] == [SCRIPT, STYLE]
    assert names[2].startswith("a\ufffdb\ufffdc $x^2$ \ufffdlong/long/")
    assert page.evaluate("document.documentElement.scrollWidth") == DESK["width"]
    caption = page.locator("figcaption").inner_text()
    assert f"before: {STYLE} (0)" in caption
    assert page.locator(".bad", has_text="zero_variance").count() == 2
    assert faults(page) == []


VERIFY = ("verify", "m.onnx", "--data", "x.npz", "--exclude", "*style*")


def test_verify_writes_both_and_keeps_its_exit_code(lsuv: Run, hostile: Path) -> None:
    outputs = ("--report", "r.html", "--plot", "p.svg")
    done = lsuv(*VERIFY, *outputs)
    assert done.returncode == 4, done.stderr
    assert done.stderr.endswith("the report is in r.html\nthe plot is in p.svg\n")
    page = (hostile / "r.html").read_text()
    assert f"SHA-256</dt>\n<dd>{sha256((hostile / 'm.onnx').read_bytes()).hexdigest()}" in page
    assert "1 outside" in page
    assert "standard deviation" in (hostile / "p.svg").read_text()
    # Nothing but them, and never without being told.
    assert sorted(path.name for path in hostile.iterdir()) == ["m.onnx", "p.svg", "r.html", "x.npz"]
    done = lsuv(*VERIFY, "--report", "r.html")
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "exists already; give --force" in done.stderr
    (hostile / "w.html").hardlink_to(hostile / "x.npz")
    weights = ("verify", "m.onnx", "w.html", "--data", "x.npz", "--report", "w.html", "--force")
    assert "the output w.html is the file of weights itself" in lsuv(*weights).stderr


def test_a_page_of_weights_that_went_to_stdout(lsuv: Run, hostile: Path) -> None:
    """The weights are the same as without a page, which runs the samples once more."""
    subset = ("--exclude", "*style*", "--quiet")
    lsuv(*ARGUMENTS, *subset)
    out = (hostile / "w.safetensors").read_bytes()
    streamed = (*ARGUMENTS[:-1], "-", "--report", "r.html", *subset)
    done = subprocess.run([COMMAND, *streamed], cwd=hostile, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (4, b"")
    assert done.stdout == out
    page = (hostile / "r.html").read_text()
    assert [page.count(f'aria-labelledby="histogram-{i}-title"') for i in range(4)] == [1, 1, 1, 0]


def test_the_same_run_gives_the_same_bytes(lsuv: Run, hostile: Path) -> None:
    outputs = ["--report", "r.html", "--plot", "p.svg", "--force", "--quiet"]
    contents = []
    # Neither a user's settings nor the clock's time may show.
    (hostile / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\n")
    for seed in ("1", "2"):
        done = lsuv(*ARGUMENTS, *outputs, env={"PYTHONHASHSEED": seed})
        assert done.stderr == ""
        contents.append([(hostile / name).read_bytes() for name in ("r.html", "p.svg")])
        (hostile / "matplotlibrc").unlink(missing_ok=True)
    assert contents[0] == contents[1]
    page = contents[0][0].decode()
    shown = "lsuv init m.onnx --data x.npz --out w.safetensors --report r.html --plot p.svg"
    assert shown in re.sub("</?span>", "", page)
    assert str(hostile) not in page


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_plot_alone(lsuv: Run, hostile: Path, kind: str) -> None:
    done = lsuv(*ARGUMENTS, "--plot", f"p.{kind}")
    assert done.returncode == 0
    plot = hostile / f"p.{kind}"
    if kind == "pdf":
        assert plot.read_bytes().startswith(b"%PDF-")
    else:
        with Image.open(plot) as picture:
            assert picture.width > 1500
            colors = {color for _, color in picture.convert("RGB").getcolors(1 << 20) or ()}
        assert {(0, 0x72, 0xB2), (0xC1, 0x44, 0x0E)} <= colors


@pytest.mark.parametrize(
    ("outputs", "code", "says"),
    [
        (["--report", "r.txt"], 2, "--report r.txt: the name must end with .html, .htm"),
        (["--plot", "p.gif"], 2, "--plot p.gif: the name must end with .png, .svg, .pdf"),
        (["--report", "none/r.html"], 5, "the output's folder none does not exist; make it"),
        (["--report", "old.html"], 5, "the output old.html exists already; give --force"),
        (["--plot", "m.svg", "--force"], 5, "the output m.svg is the model itself"),
        (["--out", "r.html", "--report", "./r.html"], 2, "--out and --report are the same file"),
    ],
)
def test_what_cannot_be_written_is_refused_first(
    lsuv: Run, hostile: Path, outputs: list[str], code: int, says: str
) -> None:
    (hostile / "old.html").write_text("old")
    (hostile / "m.svg").symlink_to("m.onnx")
    done = lsuv(*ARGUMENTS, *outputs)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert (hostile / "old.html").read_text() == "old"
    assert not (hostile / "w.safetensors").exists()


def test_a_report_that_cannot_be_written_leaves_the_weights(hostile: Path) -> None:
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    # Coverage could not write its own file either.
    done = subprocess.run(
        [COMMAND, *ARGUMENTS, "--report", "r.html"],
        cwd=hostile,
        env=UNMEASURED,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == (
        "error: can't write r.html: File too large; the weights are in w.safetensors"
    )
    assert (hostile / "w.safetensors").exists()
    assert not (hostile / "r.html").exists()
    assert not list(hostile.glob(".lsuv-*"))


def made_page(layers: int) -> records.Page:
    """A page with a number of layers, and with values that can't be drawn."""
    names = tuple(f"/encoder/layers.{i}/attention/projection/MatMul" for i in range(layers))
    before: list[float | None] = [0.97**i for i in range(layers)]
    before[-3:] = [0.0, math.nan, None][-layers:]
    curves = (records.Curve("before", tuple(before)), records.Curve("after", (1.0,) * layers))
    edges = tuple(np.linspace(-4, 4, 41).tolist())
    counts = tuple(np.random.default_rng(0).normal(50, 9, 40).round().tolist())
    histograms = tuple(records.Histogram(name, edges, counts) for name in ("before", "after"))
    columns = (
        text_column("layer", names, Holds.NAME),
        number_column("value", [1.0] * layers),
    )
    return records.Page(
        title="Many layers",
        summary=f"{layers} layers",
        tone=Tone.PLAIN,
        charts=(records.Chart("Curves", "std", names, curves, (1.0,) * layers),),
        table=records.PageTable("Layers", columns),
        histograms=tuple(records.LayerHistograms(name, histograms) for name in names),
        notes=(),
        sections=(),
        command="lsuv verify",
    )


@needs_chromium
@pytest.mark.parametrize("layers", [1, 300])
def test_few_and_many_layers(browser: Browser, tmp_path: Path, layers: int) -> None:
    text = render_page(made_page(layers))
    assert len(text) < 3_000_000
    path = tmp_path / "page.html"
    path.write_text(text, "utf-8")
    page, events = opened(browser, path)
    assert events == [path.as_uri()]
    labels = page.locator("figure svg:visible text").all_inner_texts()
    boxes = [
        box
        for text in page.locator("figure svg:visible text").all()
        if (box := text.bounding_box()) is not None
    ]
    assert len(labels) == len(boxes) < 60
    assert not any(overlap(one, other) for one in boxes for other in boxes if one is not other)
    page.emulate_media(media="print")
    assert page.locator(".small svg:visible").count() == layers
    page.emulate_media(media="screen")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.locator(".small svg").count() == layers
    assert page.locator(".small svg:visible").count() == layers
    if layers > 1:
        caption = page.locator("figcaption").inner_text()
        assert "layers.297/attention/projection/MatMul (0)" in caption
        assert "layers.298/attention/projection/MatMul (nan)" in caption


def overlap(one: Any, other: Any) -> bool:
    """Return whether two boxes overlap."""
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "width"), ("y", "height"))
    )


def test_bars_by_depth(lsuv: Run, hostile: Path) -> None:
    shown = lsuv(*ARGUMENTS, "--exclude", "*style*").stderr
    plain = lsuv(*ARGUMENTS, "--exclude", "*style*", "--force", env={"PYTHONIOENCODING": "ascii"})
    rows = [line for line in shown.splitlines() if " MatMul " in line]
    assert "█" in rows[0]
    assert "┃" in rows[0]
    # No variance, no bar.
    assert not set("█┃") & set("".join(rows[1:]))
    (row,) = (line for line in plain.stderr.splitlines() if "4x8" in line)
    assert "###" in row
    assert "|" in row
