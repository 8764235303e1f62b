"""The documentation, in Markdown too, has a line for each sentence; and what a sentence is, for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.prose import DOCS, PAGES, broken, long, sentences, wide, words

PAGE = """\
Title. Not prose
================

One sentence, that
goes on. Another one! libvirt's is a third. ``code. Like this`` is none, e.g. that.
A line::

   code. Is left. As it is.

term. Of a list
   What it is. And
   what not.
other term
   No more.

- A bullet. With
  two sentences.
- Another one.

=====  ==========
a cell of. A table
=====  ==========

.. code-block:: sh

   echo one. Two.

.. note::

   A note. Of two.
"""
BROKEN = """\
Title. Not prose
================

One sentence, that goes on.
Another one!
libvirt's is a third.
``code. Like this`` is none, e.g. that.
A line::

   code. Is left. As it is.

term. Of a list
   What it is.
   And what not.
other term
   No more.

- A bullet.
  With two sentences.
- Another one.

=====  ==========
a cell of. A table
=====  ==========

.. code-block:: sh

   echo one. Two.

.. note::

   A note.
   Of two.
"""
MARKDOWN = """\
# Title. Not prose

One sentence, that
goes on. Another one: `code. Like this`.

    code. Is left. As it is.

```
fenced. As it is.
```
Behind it. Prose.

1. An item. Of two:

       its code. Is left.
2. Another. Item
   that goes on.
   - One below. It.

| a. B | c. D |
|---|---|

![A picture. Of it](a.svg)
"""
BROKEN_MARKDOWN = """\
# Title. Not prose

One sentence, that goes on.
Another one: `code. Like this`.

    code. Is left. As it is.

```
fenced. As it is.
```
Behind it.
Prose.

1. An item.
   Of two:

       its code. Is left.
2. Another.
   Item that goes on.
   - One below.
     It.

| a. B | c. D |
|---|---|

![A picture. Of it](a.svg)
"""


def test_every_page_has_a_line_for_each_sentence() -> None:
    """`python -m lab.prose --write` makes it so."""
    assert [page for page in PAGES if broken(page) != page.read_text()] == []


def test_no_sentence_is_too_long() -> None:
    """25 words at most, as CONTRIBUTING.md has it."""
    assert [line for page in PAGES for line in long(page)] == []


def test_no_command_has_a_line_that_is_too_long() -> None:
    assert [line for page in sorted(DOCS.glob("*.rst")) for line in wide(page)] == []


@pytest.mark.parametrize(("name", "text", "wanted"), [("page.rst", PAGE, BROKEN), ("page.md", MARKDOWN, BROKEN_MARKDOWN)])
def test_what_is_no_prose_stays_as_it_is(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    page = tmp_path / name
    page.write_text(text)
    assert broken(page) == wanted
    page.write_text(wanted)
    assert broken(page) == wanted


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The VM stays at the source.", 6),
        ("It is ``nbdtun set VM --switchover now`` that ends it: :doc:`the page <migrate>`.", 7),
        ("1 Gbit/s -- no more.", 4),
    ],
)
def test_literals_and_links_are_one_word(text: str, count: int) -> None:
    assert (sentences(text), words(text)) == ([text], count)


def test_a_long_sentence_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(f"Short.\n\n{'word ' * 25}end. Short.\n")
    assert [line.partition(": word")[0] for line in long(page)] == ["page.rst:3: 26 words"]
