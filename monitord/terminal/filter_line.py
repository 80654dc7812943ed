"""The line at the foot in which a filter is typed."""

from __future__ import annotations

ENTER, ESCAPE, ERASE, CLEAR = ("\r", "\n"), "\x1b", ("\x7f", "\b"), "\x15"


class FilterLine:
    """A line of text under edit.

    Attributes:
        text: What is typed so far; None while nobody types.
        complaint: Why the text could not be applied, or None.
    """

    def __init__(self) -> None:
        """Nobody types yet."""
        self.text: str | None = None
        self.complaint: str | None = None

    def open(self, text: str) -> None:
        """Begin with ``text``."""
        self.text, self.complaint = text, None

    def close(self) -> None:
        """Forget what was typed."""
        self.text = self.complaint = None

    def take(self, key: str) -> bool:
        """Take a key; return whether the text shall be applied."""
        if self.text is None or key in ENTER:
            return self.text is not None
        self.complaint = None
        if key == ESCAPE:
            self.close()
        elif key in ERASE:
            self.text = self.text[:-1]
        elif key == CLEAR:
            self.text = ""
        elif key.isprintable():
            self.text += key
        return False

    def shown(self) -> str:
        """Return the foot's line."""
        return f"filter: {self.text}▏  Enter applies   Ctrl+U clears   Esc leaves it"
