"""Names into text that a terminal, Markdown or LaTeX shows and does not obey."""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Printable characters on one line: no terminal sequences, no text that runs backwards."""
    return "".join(" " if c.isspace() else c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def escape_markdown(text: str) -> str:
    """For a cell or a line of GitHub Markdown."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$@])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "†": r"$^\dagger$",
    "Δ": r"$\Delta$", "α": r"$\alpha$", "`": r"\textasciigrave{}",
} | {c: f"[U+{ord(c):04X}]" for c in "«»ÐðÞþ"}  # fmt: skip


def escape_latex(text: str) -> str:
    """For text mode of pdfLaTeX; what its oldest fonts lack is named by its code point."""
    safe = "".join(_LATEX.get(c) or (c if ord(c) < 0x100 else f"[U+{ord(c):04X}]") for c in plain(text))
    return safe.replace("--", "-{}-")
