"""`Parser`: wrong usage as one line that says what was meant and where all options are shown."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors are short."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line."""
        if found := _CHOICE.search(message):
            message += near(found[1], re.findall(r"[\w-]+", found[2]), "; did you mean {}?")
        _, _, verb = self.prog.partition(" ")
        more = f"`fewshot help{f' {verb}' if verb else ''}` shows all {'options' if verb else 'commands'}."
        self.exit(2, f"{self.prog}: error: {message.rstrip('.?')}{'?' if message.endswith('?') else '.'} {more}\n")

    def refuse_rest(self, rest: Sequence[str], given: Sequence[str] = ()) -> None:
        """Refuse words that no option took, and say which option was meant.

        Args:
            rest: the words.
            given: all words of the command.
        """
        if not rest:
            return
        word = rest[0]
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        hint = near(word.partition("=")[0], options, "; did you mean {}?") if word.startswith("-") else ""
        if full := self._full_before(word, given):
            hint = "; {} takes one value, and has {!r}: run the command once for each".format(*full)
        elif not word.startswith("-") and {"--data", "--learner"} <= {*options}:
            hint = f"; did you mean {'--learner' if _is_learner(word) else '--data'} {word}?"
        self.error(f"unrecognized {'option' if word.startswith('-') else 'word'} {word!r}{hint}")

    def _full_before(self, word: str, given: Sequence[str]) -> tuple[str, str] | None:
        """The option of one value that stands before a word, and that value: ``--encoder VALUE WORD``."""
        place = given.index(word) if word in given else 0
        if place == 0 or word.startswith("-"):
            return None
        name, joined, value = given[place - 1].partition("=")
        if not (joined and name.startswith("--")):
            name, value = given[max(place - 2, 0)], given[place - 1]
        one = any(name in action.option_strings for action in self._actions if action.nargs is None)
        return (name, value) if one else None


def near(word: str, known: Iterable[str], sentence: str) -> str:
    """A sentence with the nearest known word, or nothing."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or [
        name for name in known if len(word) > 1 and (word in name.split("-") or name in word.split("-"))
    ]
    return sentence.format(found[0]) if found else ""


def _is_learner(word: str) -> bool:
    from fewshot.learners import LEARNERS

    name = word.rpartition("|")[2].partition("(")[0].strip()
    return not os.path.exists(word) and (name in LEARNERS.aliases or name in LEARNERS.names())
