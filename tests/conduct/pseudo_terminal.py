"""A command in a pseudo-terminal, and what somebody would see there."""

import fcntl
import os
import pty
import re
import struct
import termios

COMMAND = re.compile(r"\x1b\[(\d*)([A-Za-z])")


class Picture:
    """The rows of a terminal after a text: line breaks, overwriting, cursor up, erasing below."""

    def __init__(self, columns):
        self._columns = columns
        self._rows = [""]
        self._row = self._column = 0

    def write(self, text):
        place = 0
        while place < len(text):
            if found := COMMAND.match(text, place):
                self._obey(found[2], int(found[1] or 0))
                place = found.end()
                continue
            self._put(text[place])
            place += 1

    @property
    def rows(self):
        return [row.rstrip() for row in self._rows]

    def _obey(self, letter, number):
        if letter == "A":
            self._row = max(0, self._row - (number or 1))
        elif letter == "J":
            assert number == 0
            self._rows[self._row] = self._rows[self._row][: self._column]
            del self._rows[self._row + 1 :]
        else:
            raise AssertionError(f"no command that the screen should use: {letter!r}")

    def _put(self, character):
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            self._rows += [""] * (self._row + 1 - len(self._rows))
        else:
            assert character.isprintable(), f"a terminal obeys {character!r}"
            if self._column == self._columns:
                self._put("\r")
                self._put("\n")
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1


class PseudoTerminal:
    """A command that runs in a terminal of a given width; `output` is all that it wrote so far."""

    def __init__(self, command, folder, columns=80, **environment):
        self.columns = columns
        self.output = ""
        # Its standard output and error are the terminal, as of a command in a shell.
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update({"TERM": "xterm", **environment})
            os.execv(command[0], [str(word) for word in command])
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, size)

    def read_until(self, pattern):
        """Read until a pattern was written; return whether it was, before the command ended."""
        while not re.search(pattern, self.output):
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # the other end is closed
                return False
            self.output += data.decode(errors="replace")
        return True

    def type(self, text):
        os.write(self._descriptor, text.encode())

    def wait(self):
        """Read to the end; return the exit code."""
        self.read_until(r"(?!)")
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def words(self):
        """All that was written, without commands and line breaks, for what rows have split."""
        return " ".join(COMMAND.sub("", self.output).split())

    @property
    def rows(self):
        """The rows that are seen after all that was written."""
        picture = Picture(self.columns)
        picture.write(self.output)
        return picture.rows
