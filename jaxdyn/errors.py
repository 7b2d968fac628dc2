"""What the user can put right: one line, no traceback, exit code 2."""


class UserError(Exception):
    """A problem with what the user gave (a file, an option), told in one line that names the thing and the remedy.

    The command line prints the message and exits with `exit_code`; a library caller catches it as any exception.
    """

    exit_code = 2


class SourceBrokenError(UserError):
    """A clip that cannot be read to its end.

    Args:
      message: one line; names the file, the time and the remedy.
      seconds: where the last whole frame ends, in seconds from the start of the clip.
    """

    def __init__(self, message: str, seconds: float):
        super().__init__(message)
        self.seconds = seconds


class ConversionError(UserError, ValueError):
    """Weights that cannot be converted: one line that names the file or the key, and the remedy."""


def one_line(error: BaseException) -> str:
    """The message of any exception, in one line and never empty."""
    return " ".join(str(error).split()) or type(error).__name__
