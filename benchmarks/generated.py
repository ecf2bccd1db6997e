"""Sections of documents that come from results files, between two comments that name them."""

from __future__ import annotations


def replace_section(text: str, name: str, content: str) -> str:
    """The text with the section's content replaced; ValueError where the document has no such section."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the document has no section between {begin!r} and {end!r}")
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"
