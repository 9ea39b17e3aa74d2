"""What a user is told when something cannot be done: all problems at once, and what to do about them."""

from collections.abc import Iterable


class TrecxError(Exception):
    """A user's mistake or an input that cannot be used; printed without a traceback.

    `problems` are complete sentences (what, where, what is supported); `hint` says what to do next.
    """

    exit_code = 2

    def __init__(self, problems: str | Iterable[str], hint: str = "") -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        self.hint = hint
        super().__init__("\n".join((*self.problems, hint) if hint else self.problems))


class AnswerIsNo(TrecxError):
    """The question was understood and the answer is no: outputs differ, a model does not fit."""

    exit_code = 1


class ToolMissing(TrecxError):
    """A program or package that this step needs is not installed; the hint says how to get it."""
