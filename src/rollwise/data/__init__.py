"""Reads your own questions, with their gold answers, from a file, a folder or a public data set."""

from rollwise.data.options import QuestionFields, QuestionFile
from rollwise.data.questions import Questions, read_questions, rows_of

__all__ = ["QuestionFields", "QuestionFile", "Questions", "read_questions", "rows_of"]
