"""Conversion of Matplotlib's SVG to a part of a page, with its theme and with descriptions.

The page's Content-Security-Policy allows no style attributes, so each becomes a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from lsuv_cli.report.chart_words import describe
from lsuv_cli.report.numbers import number
from lsuv_cli.report.page import Chart, printable

SVG = "{http://www.w3.org/2000/svg}"
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
DECORATION = {f"{SVG}metadata", f"{SVG}style"}

FONTS = re.compile(r"'DejaVu Sans'[^;]*")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


@dataclass
class StyleSheet:
    """Style sheet of all drawings on a page.

    Attributes:
        variables: for each colour as drawn the CSS variable that replaces it.
    """

    variables: Mapping[str, str]
    _classes: dict[str, str] = field(default_factory=dict)

    def class_of(self, style: str) -> str:
        """Return the class that replaces a style attribute."""
        for color, variable in self.variables.items():
            style = style.replace(color, f"var({variable})")
        style = FONTS.sub("var(--sans)", style)
        return self._classes.setdefault(style, f"p{len(self._classes)}")

    def text(self) -> str:
        """Return the classes as CSS."""
        return "\n".join(f".{name} {{ {style} }}" for style, name in self._classes.items())


def chart_element(drawn: bytes, chart: Chart, name: str, styles: StyleSheet) -> str:
    """Return a drawn chart as an element of a page.

    Args:
        drawn: the SVG from `draw_chart`.
        chart: the chart.
        name: a name of the drawing that is unique on the page, for its ids.
        styles: the style sheet that the drawing's styles are added to.
    """
    root = _parsed(drawn)
    for index, curve in enumerate(chart.curves):
        _name_points(root, index, chart, curve.values)
    return _element(root, name, styles, (printable(chart.title), printable(describe(chart))))


def histogram_element(drawn: bytes, name: str, styles: StyleSheet, words: str) -> str:
    """Return a drawn histogram as an element of a page; the words describe it."""
    return _element(_parsed(drawn), name, styles, (printable(words), ""))


def _parsed(drawn: bytes) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314 - made by Matplotlib, a moment ago


def _name_points(
    root: ET.Element, index: int, chart: Chart, values: Sequence[float | None]
) -> None:
    """Give each marker a tooltip with its layer and value."""
    group = root.find(f".//{SVG}g[@id='curve-{index}']")
    markers = [] if group is None else group.findall(f".//{SVG}use")
    points = [
        (layer, value)
        for layer, value in zip(chart.layers, values, strict=True)
        if chart.has_place(value)
    ]
    for marker, (layer, value) in zip(markers, points, strict=True):
        title = ET.SubElement(marker, f"{SVG}title")
        title.text = printable(f"{layer}, {chart.curves[index].name}: {number(value)}")


def _element(root: ET.Element, name: str, styles: StyleSheet, words: tuple[str, str]) -> str:
    _undecorate(root)
    _rename(root, name, styles)
    title, description = words
    for tag, text in (("desc", description), ("title", title)):
        if text:
            element = ET.Element(f"{SVG}{tag}", {"id": f"{name}-{tag}"})
            element.text = text
            root.insert(0, element)
    ids = " ".join(f"{name}-{tag}" for tag in (("title", "desc") if description else ("title",)))
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.update({"role": "img", "aria-labelledby": ids, "width": width, "height": height})
    root.attrib.pop("version", None)
    for part in root.iter():
        part.tag = part.tag.removeprefix(SVG)  # a page's parser knows the namespace by itself
    return ET.tostring(root, encoding="unicode")


def _undecorate(root: ET.Element) -> None:
    """Remove what a page does not need."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in DECORATION:
                parent.remove(child)
        parent.tail = None
        if parent.tag != f"{SVG}text":
            parent.text = parent.text if parent.tag == f"{SVG}title" else None


def _rename(root: ET.Element, name: str, styles: StyleSheet) -> None:
    """Make ids unique on the page, drop those without a reference, and round coordinates."""
    wanted = set(_references(root))
    for element in root.iter():
        attributes = element.attrib
        if "id" in attributes:
            old = attributes.pop("id")
            if old in wanted:
                attributes["id"] = f"{name}-{old}"
        if XLINK_HREF in attributes:
            attributes["href"] = f"#{name}-{attributes.pop(XLINK_HREF)[1:]}"
        if "style" in attributes:
            attributes["class"] = styles.class_of(attributes.pop("style"))
        for key in ("d", "x", "y", "width", "height", "transform"):
            if key in attributes:
                attributes[key] = _short(attributes[key])
        if "clip-path" in attributes:
            attributes["clip-path"] = REFERENCE.sub(rf"url(#{name}-\1)", attributes["clip-path"])


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if XLINK_HREF in element.attrib:
            yield element.attrib[XLINK_HREF][1:]
        yield from REFERENCE.findall(element.attrib.get("clip-path", ""))


def _short(text: str) -> str:
    """Return coordinates rounded to hundredths of a pixel, on one line."""
    return LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", " ".join(text.split()))
