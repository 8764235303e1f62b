"""
Sentences in pages: one a line, and none with more than 25 words. `python -m lab.prose --write` breaks the lines of `docs/` and of the
pages in Markdown so. Commands in `docs/` have lines that a terminal shows whole.

A change of one sentence is then a change of one line. What is code, a table, a title or a term is left as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.cache import LAB

DOCS = LAB.parent / "docs"
PAGES = (
    *sorted(DOCS.glob("*.rst")),
    *(LAB.parent / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md", "lab/README.md")),
    LAB.parent / "ansible/README.md",
    LAB.parent / "ansible/roles/nbdtun/README.md",
)
"""All but `bench/NOTEBOOK.md`, which is a diary."""

MOST = 25
"""Words of a sentence; a literal, a link and a number with its unit are one each."""

WIDEST = 90
"""Columns of a command's line."""

_BULLET = re.compile(r"( *)((?:[-*#]|\d+\.|#\.) +)(?=\S)")
_UNDERLINE = re.compile(r"([=~^\"'-])\1{2,}$")
_TABLE = re.compile(r" *=+( +=+)+ *$")
_PROSE = re.compile(r" *\.\. (glossary|note|warning|tip|important|admonition)::")
"""The directives whose bodies are prose."""
_WHOLE = re.compile(r"``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_?|\*\*[^*]+\*\*|\|\w+\|")
_END = re.compile(r"[.!?](?:[\")]|\*\*)*(?= +(?:[^ a-z]|(?:nbdtun|libvirt|systemd|step-ca|twistd?|ssh|cubic|haproxy)\b))")
"""A sentence begins with no small letter, unless it is a name's."""
_NO_PROSE = re.compile(r" *(?:#+ |\||!\[|<)")
"""In Markdown: a title, a row of a table, a picture, HTML."""
_SHORT = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|No)\.$")


@dataclass(frozen=True)
class Paragraph:
    """Prose between the lines `begin` and `end` of a page; its first line begins with `lead`, the others with as many spaces."""

    begin: int
    end: int
    lead: str
    text: str

    def lines(self) -> list[str]:
        """A line for each sentence."""
        indent = " " * len(self.lead)
        return [(indent if number else self.lead) + sentence for number, sentence in enumerate(sentences(self.text))]


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph."""
    masked, kept = _masked(text)
    found, begin = [], 0
    for end in _END.finditer(masked):
        if not _SHORT.search(masked[begin : end.end()]):
            found.append(masked[begin : end.end()].strip())
            begin = end.end()
    found.append(masked[begin:].strip())
    return [re.sub(r"\0(\d+)\0", lambda place: kept[int(place[1])], each) for each in found if each]


def words(sentence: str) -> int:
    """How many words it has."""
    masked, _ = _masked(sentence)
    return len([word for word in masked.split() if re.search(r"[\w\0]", word)])


def _masked(text: str) -> tuple[str, list[str]]:
    """The text with a mark in the place of each literal, link and role; and these."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        if found[0].startswith("**"):  # its own words count, and it may end a sentence
            return found[0]
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    return _WHOLE.sub(keep, " ".join(text.split())), kept


def paragraphs(page: Path) -> Iterator[Paragraph]:
    """The prose of a page."""
    return (_markdown if page.suffix == ".md" else _restructured)(page.read_text().splitlines())


def _markdown(lines: list[str]) -> Iterator[Paragraph]:
    at = depth = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("```"):
            at = next((end for end in range(at + 1, len(lines)) if lines[end].lstrip().startswith("```")), len(lines)) + 1
            continue
        bullet = _BULLET.match(line)
        depth = min(depth, _indent(line)) if line.strip() else depth  # that of the list that it belongs to
        if not line.strip() or _NO_PROSE.match(line) or _indent(line) >= depth + 4:
            at += 1
            continue
        lead = bullet[0] if bullet else line[: _indent(line)]
        depth, end = len(lead), at + 1
        while end < len(lines) and _indent(lines[end]) == depth and not _apart(lines[end]):
            end += 1
        yield Paragraph(at, end, lead, "\n".join([line[depth:], *lines[at + 1 : end]]))
        at = end


def _apart(line: str) -> bool:
    """Whether a line of Markdown does not go on with the paragraph before it."""
    return not line.strip() or bool(_BULLET.match(line) or _NO_PROSE.match(line) or line.lstrip().startswith("```"))


def _restructured(lines: list[str]) -> Iterator[Paragraph]:
    at = 0
    while at < len(lines):
        line = lines[at]
        indent = len(line) - len(line.lstrip())
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if not line.strip():
            at += 1
        elif _TABLE.match(line):
            at = _behind_table(lines, at)
        elif line.lstrip().startswith(".. "):
            at = at + 1 if _PROSE.match(line) else _behind(lines, at, indent)
        elif _UNDERLINE.match(following.strip()) and not indent:
            at += 2
        elif re.match(r" *:[\w -]+:( |$)", line) and not _WHOLE.match(line.lstrip()):
            at += 1
        elif following.strip() and _indent(following) > indent and not _BULLET.match(line):
            at += 1  # a term
        else:
            end, lead = at + 1, line[:indent]
            if bullet := _BULLET.match(line):
                lead = bullet[0]
            while end < len(lines) and lines[end].strip() and _indent(lines[end]) == len(lead) and not _BULLET.match(lines[end]):
                if end + 1 < len(lines) and lines[end + 1].strip() and _indent(lines[end + 1]) > len(lead):
                    break  # the next term
                end += 1
            text = "\n".join([line[len(lead) :], *lines[at + 1 : end]])
            yield Paragraph(at, end, lead, text)
            at = _behind(lines, end, indent) if text.rstrip().endswith("::") else end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _behind(lines: list[str], at: int, indent: int) -> int:
    """The next line that is no deeper than the one that begins a block."""
    at += 1
    while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) > indent):
        at += 1
    return at


def _behind_table(lines: list[str], at: int) -> int:
    at += 1
    while not (_TABLE.match(lines[at]) and (at + 1 == len(lines) or not lines[at + 1].strip())):
        at += 1
    return at + 1


def broken(page: Path) -> str:
    """The page with a line for each sentence."""
    lines = page.read_text().splitlines()
    for each in reversed([*paragraphs(page)]):
        lines[each.begin : each.end] = each.lines()
    return "\n".join(lines) + "\n"


def long(page: Path) -> Iterator[str]:
    """The sentences of a page that are too long, and where they are."""
    for each in paragraphs(page):
        for sentence in sentences(each.text):
            if (count := words(sentence)) > MOST:
                yield f"{page.name}:{each.begin + 1}: {count} words: {sentence}"


def wide(page: Path) -> Iterator[str]:
    """The commands of a page, those after a prompt, whose lines are too long."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if len(line) > WIDEST and re.match(r" +[\w]*[#$] ", line):
            yield f"{page.name}:{number}: {len(line)} columns: {line.strip()}"


def main(arguments: list[str]) -> int:
    pages = [Path(name) for name in arguments if not name.startswith("--")] or [*PAGES]
    found = [line for page in pages for line in (*long(page), *wide(page))]
    for page in pages:
        if "--write" in arguments:
            page.write_text(broken(page))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
