"""Names into text that a terminal, Markdown or LaTeX shows and does not obey."""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Printable characters on one line: no terminal sequences, no text that runs backwards."""
    if text.isprintable():
        return text
    return "".join(" " if c.isspace() else c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def escape_markdown(text: str) -> str:
    """For a cell or a line of GitHub Markdown."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$@])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "†": r"$^\dagger$",
    "Δ": r"$\Delta$", "α": r"$\alpha$", "`": r"\textasciigrave{}", "→": r"$\to$", "≥": r"$\ge$",
}  # fmt: skip
_TRANSLATION = str.maketrans(_LATEX)
# Beyond Latin-1, and those letters of it that the oldest font encoding lacks.
_NO_GLYPH = re.compile("[^\x20-\xff]|[«»ÐðÞþ]")


def escape_latex(text: str) -> str:
    """For text mode of pdfLaTeX; what its oldest fonts lack is named by its code point."""
    text = (
        "".join(c if c in _LATEX or not _NO_GLYPH.match(c) else f"[U+{ord(c):04X}]" for c in plain(text))
        if not text.isascii()
        else plain(text)
    )
    return text.translate(_TRANSLATION).replace("--", "-{}-")
