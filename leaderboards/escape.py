"""Names into text that a terminal, Markdown or LaTeX shows and does not obey."""

from __future__ import annotations

import re

from bench.labels import plain


def escape_markdown(text: str) -> str:
    """For a cell or a line of GitHub Markdown."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]#|~$@])", r"\\\1", text)
    return re.sub(r"(?i):(?=//)|(?<=www)\.", r"\\\g<0>", text)  # else an address would become a link


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "†": r"$^\dagger$",
    "‡": r"$^\ddagger$", "Δ": r"$\Delta$", "α": r"$\alpha$", "`": r"\textasciigrave{}", "→": r"$\to$", "≥": r"$\ge$",
    "–": r"\textendash{}",
    "[": "{[}", "*": "{*}",  # after a line break in a table, these two would belong to the break
}  # fmt: skip
_TRANSLATION = str.maketrans(_LATEX)
# Beyond Latin-1, and those letters of it that the oldest font encoding lacks.
_NO_GLYPH = re.compile("[^\x20-\xff]|[«»ÐðÞþ]")


def name_glyphs(text: str) -> str:
    """What pdfLaTeX's oldest fonts lack is named by its code point."""
    text = plain(text)
    if text.isascii():
        return text
    return "".join(c if c in _LATEX or not _NO_GLYPH.match(c) else f"[U+{ord(c):04X}]" for c in text)


def escape_latex(text: str) -> str:
    """For text mode of pdfLaTeX, in a table too."""
    return re.sub("-(?=-)", "-{}", name_glyphs(text).translate(_TRANSLATION))
